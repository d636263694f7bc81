"""Which places a room has, decided from mount tables and orders: what is visible, layered, opened, hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlock.runner.kernel import Mount, visible_mounts
from interlock.runner.layout import Layout, RoomFault, outermost_places
from interlock.runner.masks import MaskFault, secret_places


def mount(number: int, parent: int, point: str, fstype: str = "ext4", writable: bool = True) -> Mount:
    return Mount(number, parent, "/", point, ("rw",), fstype, writable)


ROOT = mount(1, 0, "/")


@pytest.mark.parametrize(("table", "seen"), [
    ([ROOT, mount(2, 1, "/srv")], ["/", "/srv"]),
    ([ROOT, mount(2, 1, "/srv"), mount(3, 2, "/srv", "tmpfs")], ["/", "/srv"]),
    ([ROOT, mount(2, 1, "/srv/a/b"), mount(3, 1, "/srv/a")], ["/", "/srv/a"]),
    ([ROOT, mount(2, 1, "/srv"), mount(3, 2, "/srv/a"), mount(4, 2, "/srv", "tmpfs")], ["/", "/srv"]),
    ([ROOT, mount(2, 1, "/a"), mount(3, 1, "/ab")], ["/", "/a", "/ab"]),
    ([ROOT, mount(2, 1, "/", "tmpfs"), mount(3, 1, "/old"), mount(4, 2, "/new")], ["/", "/new"]),
])  # fmt: skip
def test_only_what_its_path_leads_to_is_visible(table: list[Mount], seen: list[str]) -> None:
    assert [one.point for one in visible_mounts(table)] == seen


def layout(order: dict[str, Any], *mounts: Mount, hidden: str = "/var/lib/interlock-runs") -> Layout:
    found = Layout({"cwd": "/", **order}, hidden + "/r", [hidden], "/root")
    found.mounts = sorted([ROOT, *mounts], key=lambda one: one.point)
    return found


def test_every_writable_file_system_becomes_a_layer_and_the_others_are_frozen(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    found = layout(
        {}, mount(2, 1, str(tmp_path / "data"), "xfs"), mount(3, 1, str(tmp_path), "squashfs", False),
        mount(4, 1, "/boot/efi", "vfat"), mount(5, 1, "/net", "autofs"), mount(6, 5, "/net/host", "nfs"),
        mount(7, 1, "/run/user/1000", "tmpfs"), mount(8, 1, "/sys/fs/bpf", "bpf"),
    ).whole_layers()  # fmt: skip
    assert [layer["point"] for layer in found["layers"]] == ["/", str(tmp_path / "data")]
    assert found["frozen"] == ["/boot/efi", str(tmp_path)]


def test_what_is_declared_where_no_layer_can_be_is_refused() -> None:
    with pytest.raises(RoomFault, match="vfat"):
        layout({"writes": ["/boot/efi/loader"]}, mount(4, 1, "/boot/efi", "vfat")).whole_layers()


def test_a_declared_place_below_run_is_a_layer_beside_the_private_one() -> None:
    layers = layout({"writes": ["/run/lock/of-mine"]}).whole_layers()["layers"]
    assert [(layer["point"], layer["late"]) for layer in layers][1:] == [("/run/lock", True)] or not Path(
        "/run/lock"
    ).is_dir()


def test_layers_are_numbered_so_that_none_shares_a_directory() -> None:
    layers = layout({}, *[mount(n, 1, f"/m{n}", "ext4") for n in range(2, 60)]).whole_layers()
    uppers = [layer["upper"] for layer in layers["layers"]]
    assert len(set(uppers)) == len(uppers)


@pytest.mark.parametrize(
    "path", ["/proc/x", "/sys/x", "/dev/sda", "/var/lib/interlock-runs/other", "/etc/", "/etc/./x", "x"]
)
def test_what_is_nobodys_to_declare_is_refused(path: str) -> None:
    with pytest.raises(RoomFault):
        layout({"writes": [path]})


def test_declared_devices_that_keep_nothing_are_no_place() -> None:
    assert layout({"writes": ["/dev/null", "/dev/stderr"]}).writes == []


def test_the_outermost_of_nested_places_stands_for_all() -> None:
    assert outermost_places({"/a/b", "/a", "/ab", "/c/d"}) == ["/a", "/ab", "/c/d"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in (".ssh/id", ".aws/credentials", "code/app.py", "vault/one/k", "vault/two/k"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def hidden(home: Path, **order: Any) -> set[str]:
    return {
        path.removeprefix(f"{home}/") for path in secret_places(str(home), order, []) if path.startswith(f"{home}/")
    }


def test_credentials_of_the_own_home_are_hidden_and_its_work_is_not(home: Path) -> None:
    assert hidden(home) == {".ssh", ".aws"}


def test_what_is_shown_stays_unless_it_is_protected(home: Path) -> None:
    assert hidden(home, shown=["~/.ssh"]) == {".aws"}
    assert hidden(home, shown=["~/.ssh/id"]) == {".aws"}
    assert hidden(home, shown=["~/.ssh"], protected=["~/.ssh"]) == {".ssh", ".aws"}


def test_patterns_hide_what_they_match(home: Path) -> None:
    assert hidden(home, masked=["~/vault/*/k"]) == {".ssh", ".aws", "vault/one/k", "vault/two/k"}


@pytest.mark.parametrize("order", [{"cwd": "vault/one"}, {"writes": ["vault/one/new"]}, {"workspace": ["vault/one"]}])
def test_what_leads_to_the_work_is_open_and_what_lies_beside_is_not(home: Path, order: dict[str, Any]) -> None:
    full = {
        key: f"{home}/{value}" if isinstance(value, str) else [f"{home}/{one}" for one in value]
        for key, value in order.items()
    }
    assert hidden(home, masked=["~/vault"], **full) == {".ssh", ".aws", "vault/two"} | (
        {"vault/one/k"} if "writes" in order else set()
    )


def test_more_beside_the_work_than_can_be_hidden_is_said_not_shown(home: Path) -> None:
    for number in range(1001):
        (home / "vault" / f"n{number}").touch()
    with pytest.raises(MaskFault):
        hidden(home, masked=["~/vault"], cwd=f"{home}/vault/one")
