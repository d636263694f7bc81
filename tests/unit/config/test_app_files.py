"""Files of an app in the configuration: what goes where, with which values; whatever is wrong is said with its line."""

from pathlib import Path

import pytest

from app_configs import BEFORE, app, fault
from configs import write
from interlock.config import load
from interlock.config.references import held_secrets, secret_values
from interlock_tools.apps import FileSpec, Strategy, ValueLayer

EDGE = '[apps.edge]\nhosts = ["web1", "web2"]\npath = "/srv/edge"\nstrategy = "files"\n'
FILE = '[[apps.edge.files]]\nsource = "a.conf.tmpl"\ntarget = "/etc/edge/a.conf"\n'


def test_an_app_of_files_has_its_files_values_and_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_KEY", "0123456789")
    text = (
        f'{EDGE}{FILE}mode = "0640"\nowner = "root:www-data"\n'
        '[[apps.edge.files]]\nsource = "more/"\ntarget = "/etc/edge/more.d/"\n'
        '[apps.edge.values]\nworkers = 4\nfast = true\nname = "x"\n'
        '[[apps.edge.host_values]]\nhosts = ["group:web"]\nvalues = {workers = 2.5}\n'
        '[apps.edge.secrets]\nkey = {env = "EDGE_KEY"}\n'
    )
    found = app(tmp_path, text, "edge")
    assert found.strategy is Strategy.FILES
    assert found.files == (
        FileSpec("a.conf.tmpl", "/etc/edge/a.conf", 0o640, "root:www-data"),
        FileSpec("more/", "/etc/edge/more.d/"),
    )
    assert found.values == (
        ValueLayer({"workers": "4", "fast": "true", "name": "x"}),
        ValueLayer({"workers": "2.5"}, ("web1", "web2")),
    )
    assert found.secrets == {"key": ("env", "EDGE_KEY")}
    settings = load(write(tmp_path, BEFORE + text))
    assert "0123456789" in secret_values(settings), "so that it is cut out of every text"
    assert held_secrets(settings) == {("env", "EDGE_KEY"): "0123456789"}
    assert {"/srv/edge/releases", "/srv/edge/.interlock"} <= set(settings.hosts["web1"].masked)
    assert not settings.hosts["db1"].masked


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        (EDGE, 1, "files", "has no files"),
        (f"{EDGE}shared = ['x']\n{FILE}", 5, "shared", 'the strategy "files"'),
        (f"{EDGE}unpack = false\n{FILE}", 5, "unpack", 'the strategy "files"'),
        (f'{EDGE}{FILE}mode = "999"\n', 8, "files[0].mode", "octal"),
        (f'{EDGE}{FILE}mode = "4755"\n', 8, "files[0].mode", "octal"),
        (f'{EDGE}{FILE}owner = "a b"\n', 8, "files[0].owner", "user:group"),
        (f"{EDGE}{FILE}".replace("/etc/edge/a.conf", "/a"), 7, "files[0].target", "two deep"),
        (f"{EDGE}{FILE}".replace("/etc/edge/a.conf", "/etc/../a/b"), 7, "files[0].target", "without .."),
        (f"{EDGE}{FILE}".replace("/etc/edge/a.conf", "/srv/edge/a"), 7, "files[0].target", "own folder"),
        (f"{EDGE}{FILE}".replace("/etc/edge/a.conf", "/srv/vault/a"), 7, "files[0].target", "protected"),
        (f"{EDGE}{FILE}".replace("/etc/edge/a.conf", "/etc/edge/"), 7, "files[0].target", "folder"),
        (f"{EDGE}{FILE}".replace("a.conf.tmpl", "../a"), 6, "files[0].source", "relative"),
        (f"{EDGE}{FILE}" + FILE.replace("a.conf.tmpl", "b"), 10, "files[1].target", "another file"),
        (f"{EDGE}{FILE}[apps.edge.values]\nhost = 1\n", 9, "values.host", "always there"),
        (f"{EDGE}{FILE}[apps.edge.values]\n'a b' = 1\n", 9, 'values."a b"', "no name"),
        (f"{EDGE}{FILE}[[apps.edge.host_values]]\nhosts = ['web9']\n", 9, "host_values[0].hosts[0]", "no such host"),
        (f"{EDGE}{FILE}[apps.edge.secrets]\nkey = {{env = 'NOT_SET_HERE'}}\n", 9, "secrets.key", "is not set"),
        (f"{EDGE}{FILE}[apps.edge.secrets]\nkey = {{env = 'SHORT'}}\n", 9, "secrets.key", "characters"),
        (f"{EDGE}{FILE}[apps.edge.secrets]\nkey = 'hunter2-in-the-clear'\n", 9, "secrets.key", "reference"),
        (f"{EDGE}{FILE}".replace('"files"', '"release"', 1), 5, "files", 'only the strategy "files"'),
    ],
)
def test_what_is_wrong_with_a_set_of_files_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, key: str, said: str
) -> None:
    monkeypatch.setenv("SHORT", "abc")
    found = fault(tmp_path, text)
    assert found[:2] == (line, f"apps.edge.{key}")
    assert said in found[2]
    assert "in-the-clear" not in found[2]


def test_two_apps_never_put_a_file_in_the_same_place_of_a_host(tmp_path: Path) -> None:
    other = EDGE.replace("edge", "rim") + FILE.replace("apps.edge", "apps.rim")
    line, key, said = fault(tmp_path, EDGE + FILE + other)
    assert (line, key, "the app edge" in said) == (14, "apps.rim.files[0].target", True)
    apart = other.replace('["web1", "web2"]', '["db1"]')
    assert set(load(write(tmp_path, BEFORE + EDGE + FILE + apart)).apps) == {"edge", "rim"}
