"""Rendering: values come into templates, nothing else acts, and a secret is named wherever its text is shown."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from interlock.deploy.artifacts import Artifacts
from interlock.deploy.rendering import RenderedSet, Rendering, release_of
from interlock.spool import Spool
from interlock_policies.redact import Redactor
from interlock_tools.apps import App, FileSpec, Strategy, ValueLayer
from interlock_tools.errors import Refusal
from interlock_tools.plan import Deploy
from interlock_tools.rollout import Artifact

pytestmark = pytest.mark.anyio
SECRET = "hunter2-and-more"


def edge(*files: FileSpec, **values: str) -> App:
    made = files or (FileSpec("a.conf.tmpl", "/etc/edge/a.conf"),)
    layers = (ValueLayer(values), ValueLayer({"workers": "2"}, ("web2",)))
    secrets = {"key": ("env", "KEY")}
    hosts = ("web1", "web2", "web3")
    return App("edge", hosts, "/srv/edge", Strategy.FILES, files=made, values=layers, secrets=secrets)


async def rendered(folder: Path, app: App, **files: str) -> dict[str, RenderedSet] | Refusal:
    """The sets of a folder with these files; a name's `__` is a slash, its `_` a dot."""
    artifact = folder / "artifacts" / "one"
    for name, text in files.items():
        place = artifact / name.replace("__", "/").replace("_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    artifacts = Artifacts(folder / "artifacts", folder / "packed", Spool(folder / "spool", 1_000, Redactor()))
    found = await artifacts.find(Deploy("release", "edge", artifact="one"))
    assert isinstance(found, Artifact)
    return await Rendering(artifacts, {("env", "KEY"): SECRET}).render(app, found)


def packed(folder: Path, made: RenderedSet) -> dict[str, str]:
    """What is sent: each member's text."""
    data = (folder / "packed/sets" / f"{made.artifact.sha256}.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: archive.extractfile(member).read().decode() for member in archive}


async def test_each_host_has_its_own_values_and_hosts_that_are_alike_share_one_set(tmp_path: Path) -> None:
    text = "workers {{ workers }}{{workers}} key {{ key }} \\{{ stays }}\n"
    made = await rendered(tmp_path, edge(workers="4"), a_conf_tmpl=text)
    assert isinstance(made, dict)
    assert packed(tmp_path, made["web1"])["files/a.conf.tmpl"] == f"workers 44 key {SECRET} {{{{ stays }}}}\n"
    assert packed(tmp_path, made["web2"])["files/a.conf.tmpl"] == f"workers 22 key {SECRET} {{{{ stays }}}}\n"
    assert made["web1"].artifact == made["web3"].artifact != made["web2"].artifact
    assert made["web1"].texts == {"/etc/edge/a.conf": "workers 44 key [secret key] {{ stays }}\n"}
    assert made["web1"].files["/etc/edge/a.conf"].secret
    assert SECRET not in repr(made)
    again = await rendered(tmp_path, edge(workers="4"), a_conf_tmpl=text)
    other = await rendered(tmp_path, edge(workers="5"), a_conf_tmpl=text)
    assert release_of(again) == release_of(made) != release_of(other), "a release is what all of its hosts are to have"


async def test_a_file_that_is_no_template_lands_as_it_is_and_a_folder_with_all_below_it(tmp_path: Path) -> None:
    app = edge(FileSpec("a.conf", "/etc/a.conf"), FileSpec("d/", "/etc/d/", 0o600, "root"), workers="1")
    made = await rendered(tmp_path, app, a_conf="{{ workers }}", d__b_tmpl="{{ workers }}", d__e__c="c", other="x")
    assert isinstance(made, dict)
    members = packed(tmp_path, made["web1"])
    record = {entry["target"]: entry for entry in json.loads(members.pop(".set.json"))["files"]}
    assert members == {"files/a.conf": "{{ workers }}", "files/d/b.tmpl": "1", "files/d/e/c": "c"}
    assert set(record) == {"/etc/a.conf", "/etc/d/b", "/etc/d/e/c"}
    assert (record["/etc/d/b"]["mode"], record["/etc/d/b"]["owner"]) == (0o600, "root")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ wrokers }}", "'wrokers'"),
        ("{{ workers.real }}", "begins no value"),
        ("{{ workers | upper }}", "begins no value"),
        ("{% for x in y %}{{", "begins no value"),
        ("{{ workers }}" * 200_000, "grows"),
    ],
)
async def test_what_is_no_name_of_a_value_refuses_the_whole_set(tmp_path: Path, text: str, said: str) -> None:
    found = await rendered(tmp_path, edge(workers="x" * 64), a_conf_tmpl=text)
    assert isinstance(found, Refusal)
    assert (found.code, found.path, said in found.reason) == ("ARGUMENT_INVALID", "artifact", True), found.reason
    assert not list((tmp_path / "packed").glob("sets/*"))


async def test_two_files_of_one_place_are_refused(tmp_path: Path) -> None:
    found = await rendered(tmp_path, edge(FileSpec("d/", "/etc/d/")), d__a_tmpl="x", d__a="y")
    assert isinstance(found, Refusal)
    assert "both become /etc/d/a" in found.reason


async def test_a_secret_that_was_not_there_at_the_start_refuses_the_set(tmp_path: Path) -> None:
    artifact = tmp_path / "artifacts/one"
    artifact.mkdir(parents=True)
    (artifact / "a.conf.tmpl").write_text("{{ key }}")
    artifacts = Artifacts(tmp_path / "artifacts", tmp_path / "packed", Spool(tmp_path / "spool", 1_000, Redactor()))
    found = await artifacts.find(Deploy("release", "edge", artifact="one"))
    assert isinstance(found, Artifact)
    refused = await Rendering(artifacts, {}).render(edge(), found)
    assert isinstance(refused, Refusal)
    assert (refused.code, "the secret key" in refused.reason) == ("STALE_STATE", True)
