"""What a step of a deployment says that it changed: as the disk has it, and the same when it is sent again."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from archives import entry, tar_of

from .app_site import AppSite, app_site, artifact
from .test_layers import USER


@pytest.fixture
def site() -> Iterator[AppSite]:
    """An application of an ordinary user's."""
    with app_site(USER if os.geteuid() == 0 else os.geteuid()) as made:
        yield made


def changed(site: AppSite, told: dict) -> list[tuple[str, str, str, int]]:
    """What an answer lists: op, path below the app's folder, kind, entries below."""
    assert told["ok"], told
    found = []
    for change in told["changes"]:
        assert set(change) == {
            "op", "path", "kind", "size", "mode", "uid", "gid", "target", "below", "was", "detail",
        }  # fmt: skip
        found.append((change["op"], os.path.relpath(change["path"], site.path), change["kind"], change["below"]))
    return found


def looks(folder: Path) -> dict[str, str]:
    """What lies below a folder but for the runner's own: each path with where it leads."""
    entries = [path for path in folder.rglob("*") if ".interlock" not in path.parts] if folder.is_dir() else []
    found = {str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else "" for path in entries}
    return found | ({".": ""} if folder.is_dir() else {})


def witness(site: AppSite, before: dict[str, str]) -> set[tuple[str, str]]:
    """What the disk shows to have changed since, a folder that came or went as a whole by its name alone."""
    after = looks(site.path)
    created, deleted = set(after) - set(before), set(before) - set(after)
    found = {("modify", path) for path in set(after) & set(before) if after[path] != before[path]}
    for op, paths in (("create", created), ("delete", deleted)):
        found |= {(op, path) for path in paths if os.path.dirname(path) not in paths or path.count("/") < 2}
    return {(op, path) for op, path in found if not path.startswith("releases/") or path.count("/") == 1}


def placed_by(site: AppSite, claim: dict, release: str) -> dict:
    """Place a release under another claim than the site's own."""
    named = site.upload(artifact(release), **claim)
    return site.ask("place", release=release, name="app.bin", **named, **claim)


RELEASE = tar_of([entry("file", data=b"x"), entry("folder/one", data=b"1"), entry("folder/two", data=b"2")])


def test_each_step_lists_what_the_disk_shows_and_again_when_it_is_sent_again(site: AppSite) -> None:
    steps = [
        ("claim", {}, [("create", ".", "directory", 0), ("create", "releases", "directory", 0),
                       ("create", "shared", "directory", 0)]),
        ("place", {"release": "v1", "name": "app", "shared": ["data"]},
         [("create", "releases/v1", "directory", 5), ("create", "shared/data", "directory", 0)]),
        ("switch", {"release": "v1", "expect": ""}, [("create", "current", "link", 0)]),
        ("place", {"release": "v2", "name": "app"}, [("create", "releases/v2", "directory", 4)]),
        ("switch", {"release": "v2", "expect": "v1"}, [("modify", "current", "link", 0)]),
        ("prune", {"keep": 1}, [("delete", "releases/v1", "directory", 5)]),
        ("place", {"release": "v3", "name": "app"}, [("create", "releases/v3", "directory", 4)]),
        ("drop", {"release": "v3"}, [("delete", "releases/v3", "directory", 4)]),
    ]  # fmt: skip
    for op, head, expected in steps:
        before = looks(site.path)
        named = {**head, **(site.upload(RELEASE) if op == "place" else {})}
        told = site.ask(op, **named)
        assert changed(site, told) == expected, op
        assert {(kind, path) for kind, path, _, _ in expected} == witness(site, before), op
        now = looks(site.path)
        assert (site.ask(op, **named)["changes"], looks(site.path)) == (told["changes"], now), op
    assert site.switch("v2", "v1")["changes"][0]["was"]["target"] == "releases/v1"


def test_claiming_and_giving_free_tell_all_that_the_deployment_changed_so_far(site: AppSite) -> None:
    site.claimed().placed("v1")
    site.switch("v1", "")
    free = site.ask("free")
    assert ("create", "current", "link", 0) in changed(site, free)
    assert len(free["changes"]) == 5, "the folder, releases, shared, the release and the link"
    second = {"deployment": "d2", "fence": 2}
    assert site.ask("claim", **second)["changes"] == [], "another deployment has changed nothing yet"
    assert placed_by(site, second, "v2")["placed"]
    site.switch("v2", "v1", **second)
    again = {"deployment": "d2", "fence": 3}
    back = site.ask("claim", **again)
    assert changed(site, back) == [("create", "releases/v2", "directory", 1), ("modify", "current", "link", 0)]
    assert back["changes"][1]["was"]["target"] == "releases/v1"
    site.switch("v1", "v2", **again)
    site.ask("drop", release="v2", **again)
    assert site.ask("free", **again)["changes"] == [], "what was made and taken back is nothing"


@pytest.mark.parametrize(
    ("fault", "op", "head"),
    [
        ("app-unpacked", "place", {"release": "v3", "name": "app", "shared": ["data"]}),
        ("app-placed", "place", {"release": "v3", "name": "app", "shared": ["data"]}),
        ("app-switched", "switch", {"release": "v2", "expect": "v1"}),
        ("app-pruned", "prune", {"keep": 0}),
        ("app-pruned", "drop", {"release": "v2"}),
    ],
)
@pytest.mark.parametrize("end", ["kill", "raise:5"])
def test_what_a_killed_worker_did_is_told_by_the_one_that_goes_on(
    site: AppSite, fault: str, op: str, head: dict, end: str
) -> None:
    site.claimed().placed("v1", "v2")
    site.switch("v1", "")
    named = {**head, **(site.upload(RELEASE) if op == "place" else {})}
    site.ask("free")
    claim = {"deployment": "d2", "fence": 2}
    assert site.ask("claim", **claim)["ok"]
    before = looks(site.path)
    assert not site.ask(op, by=site.helper(faults=f"{fault}={end}"), **named, **claim)["ok"]
    told = site.ask(op, **named, **claim)
    assert {(kind, path) for kind, path, _, _ in changed(site, told)} == witness(site, before)
    assert site.ask("claim", **claim)["changes"] == told["changes"]


def test_what_somebody_else_did_is_not_told_as_the_deployments_own(site: AppSite) -> None:
    site.claimed().placed("v1", "v2")
    site.switch("v1", "")
    second = {"deployment": "d2", "fence": 2}
    site.ask("free")
    site.ask("claim", **second)
    assert placed_by(site, second, "v2")["changes"] == [], "it was placed by another one"
    (site.path / "current").unlink()
    (site.path / "current").symlink_to("releases/v2")
    told = site.switch("v2", "v1", **second)
    assert (told["already"], told["changes"]) == (True, []), "a person switched it"


def test_what_is_too_much_to_be_noted_is_said_to_be_cut(site: AppSite) -> None:
    site.claimed().placed("v0")
    site.switch("v0", "")
    one = json.loads(site.own("releases/v0.json").read_text())
    for number in range(1, 251):
        (site.path / f"releases/v{number}").mkdir()
        site.own(f"releases/v{number}.json").write_text(json.dumps({**one, "id": f"v{number}"}))
    told = site.ask("prune", keep=0)
    assert len(told["removed"]) == 250
    assert (told["changes_cut"], site.ask("free")["changes_cut"]) == (True, True)
