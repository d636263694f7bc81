"""What a room is for: everyday work goes through, declared places are written, secrets are not there."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.runner.conftest import LEVELS, Places, filled, scripts
from interlock.runner.kernel import mounts_in_sight
from interlock.runner.masks import secret_places
from rooms_bench import Host, owned_folder

WORK = scripts("everyday.txt")


@pytest.fixture
def early(host: Host) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="interlock-early-", dir="/tmp", delete=False) as file:
        file.write(b"made earlier\n")
    path = Path(file.name)
    path.chmod(0o666)
    yield path
    assert path.read_text("utf-8") == "made earlier\n"  # what a room wrote has vanished
    path.unlink()


@pytest.mark.parametrize("name", WORK)
def test_everyday_work_goes_through(name: str, host: Host, level: str, places: Places, early: Path) -> None:
    expected = name.split(" -> ")[1]
    command = filled(WORK[name], declared=places.declared, early=early)
    outcome = host.run(level, command, writes=[str(places.declared)], cwd=str(places.declared))
    assert not outcome.fault
    assert outcome.code == 0, outcome.output
    assert expected in outcome.output
    assert "denied" not in outcome.output
    assert "Read-only" not in outcome.output


def test_an_undeclared_write_fails_in_a_confined_room_and_a_declared_one_lands(host: Host, places: Places) -> None:
    command = f"echo yes > {places.declared}/new; echo no > {places.other}/new"
    outcome = host.run("confined", command, writes=[str(places.declared)])
    assert "Read-only file system" in outcome.output
    assert (places.declared / "new").read_text("utf-8") == "yes\n"
    assert (places.declared / "new").stat().st_uid == host.uid
    assert not (places.other / "new").exists()


def test_what_a_staged_room_changes_lies_in_its_layers_alone(host: Host, places: Places) -> None:
    before = places.picture(places.top)
    command = f"cd {places.other}; echo x > new; rm victim; echo y >> second; mkdir -p a/b; touch a/b/c; mv third moved"
    outcome = host.run("staged", command, cwd=str(places.other))
    assert outcome.code == 0, outcome.output
    assert {Path(path).name for path in outcome.changed} >= {"new", "victim", "second", "a", "c", "third", "moved"}
    assert all(path.startswith(str(places.other)) for path in outcome.changed)
    assert places.picture(places.top) == before


def test_a_declared_file_that_does_not_exist_opens_its_directory_but_not_what_lies_beside(
    host: Host, places: Places
) -> None:
    (places.other / "folder").mkdir()
    before = places.picture()
    command = "cd {0}; echo new > fresh; echo x >> victim; rm -f second; mv third fourth; touch folder/in; rmdir folder"
    outcome = host.run("confined", command.format(places.other), writes=[str(places.other / "fresh")])
    after = places.picture()
    assert after.pop(str(places.other / "fresh"))[-1] == b"new\n", outcome.output
    assert after == before


def test_a_declared_deletion_takes_that_entry_only(host: Host, places: Places) -> None:
    outcome = host.run("confined", f"rm -f {places.other}/*", deletes=[str(places.other / "victim")])
    assert sorted(path.name for path in places.other.iterdir()) == ["second", "third"], outcome.output


def test_a_file_that_is_declared_alone_is_written_and_nothing_beside_it(host: Host, places: Places) -> None:
    command = f"cd {places.other}; echo more >> victim; echo x >> second; echo x > new; rm victim"
    host.run("confined", command, writes=[str(places.other / "victim")])
    assert (places.other / "victim").read_text("utf-8") == "as it was\nmore\n"
    assert (places.other / "second").read_text("utf-8") == "as it was\n"
    assert not (places.other / "new").exists()


def test_a_declared_place_of_tmp_lands_and_the_rest_of_tmp_vanishes(host: Host) -> None:
    folder = owned_folder(Path(tempfile.mkdtemp(dir="/tmp")), host)
    try:
        host.run("confined", f"echo a > {folder}/a; echo b > {folder}.b", writes=[str(folder)])
        assert (folder / "a").read_text("utf-8") == "a\n"
        assert not Path(f"{folder}.b").exists()
        outcome = host.run("staged", f"echo c > {folder}/c; echo d > {folder}.d", writes=[str(folder)])
        assert any((Path(one["upper"]).rglob("c")) for one in outcome.layers)
        assert not (folder / "c").exists()
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_a_home_that_holds_the_run_directories_can_be_declared_but_they_stay_hidden(host: Host, level: str) -> None:
    command = "cd ~; echo x > made; ls -A state/runs; mv state elsewhere; rm -rf state; echo x > state/runs/in"
    outcome = host.run(level, command, writes=[host.home])
    assert not outcome.fault
    made = Path(host.home) / "made"
    assert made.exists() is (level == "confined")
    assert Path(host.base).is_dir()
    assert not (Path(host.base) / "in").exists()
    made.unlink(missing_ok=True)


def test_declared_credentials_can_be_written_and_what_lies_beside_them_stays_hidden(host: Host) -> None:
    folder = owned_folder(Path(host.home) / ".pki", host)
    for name in ("mine", "secret"):
        (folder / name).write_text("THE-SECRET\n")
        (folder / name).chmod(0o666)
    outcome = host.run("confined", "cat ~/.pki/*; echo more >> ~/.pki/mine", writes=[str(folder / "mine")])
    assert outcome.output.count("THE-SECRET") == 1
    assert (folder / "mine").read_text("utf-8") == "THE-SECRET\nmore\n"


SECRETS = (
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".kube/config",
    ".netrc",
    ".git-credentials",
    ".config/gcloud/key",
    ".bash_history",
)


def test_secrets_are_not_there(host: Host, level: str, places: Places, bystander: subprocess.Popen[bytes]) -> None:
    for name in SECRETS:
        path = Path(host.home) / name
        owned_folder(path.parent, host)
        path.write_text("THE-SECRET")
        path.chmod(0o644)
    extra = places.other / "hidden.env"
    extra.write_text("THE-SECRET")
    command = "grep -rs SECRET ~ /etc/shadow /etc/ssh/*_key /root {0} /proc/*/environ; cat ~/.netrc ~/.ssh/*; ls ~/.aws"
    outcome = host.run(level, command.format(places.other), masked=[str(places.other / "*.env")])
    assert "SECRET" not in outcome.output, outcome.output
    shown = host.run(level, "cat ~/.ssh/id_ed25519 ~/.aws/credentials", shown=["~/.ssh"])
    assert shown.output.count("THE-SECRET") == 1
    protected = host.run(level, "cat ~/.ssh/id_ed25519", shown=["~/.ssh"], protected=[f"{host.home}/.ssh"])
    assert "THE-SECRET" not in protected.output


def test_a_place_that_leads_to_the_working_directory_hides_only_what_lies_beside(host: Host, places: Places) -> None:
    for name in ("app/code", "keys/k", "app/.env"):
        (places.top / "vault" / name).parent.mkdir(parents=True, exist_ok=True)
        (places.top / "vault" / name).write_text("x")
    vault = str(places.top / "vault")
    order = host.order("confined", "", cwd=f"{vault}/app", masked=[vault])
    assert set(secret_places(host.home, order)) >= {f"{vault}/keys"}
    outcome = host.run("confined", "ls -A . ../keys", cwd=f"{vault}/app", masked=[vault])
    assert "code" in outcome.output
    assert "k" not in outcome.output.split("../keys:")[1].split()


def test_the_runs_of_others_cannot_be_seen(host: Host, level: str, ground: Path) -> None:
    earlier = host.run(level, "echo x > /tmp/t")
    assert not earlier.fault
    outcome = host.run(
        level, f"ls -A {host.base}; find {ground} -path '*/u/1'; grep -c {host.base}/ /proc/self/mountinfo"
    )
    assert "/u/1" not in outcome.output
    assert outcome.output.splitlines()[-1] == "0"


def test_a_room_has_its_own_processes_devices_and_network(host: Host, level: str) -> None:
    command = "ls /proc | grep -c '^[0-9]'; ls /dev; cat /proc/net/dev; grep -E 'NoNewP|CapEff' /proc/self/status"
    lines = host.run(level, command).output.split()
    assert int(lines[0]) < 8
    assert "lo:" in lines
    assert not [word for word in lines if word.startswith(("eth", "ens", "vd", "sd", "nvme", "mem", "kmsg"))]
    assert lines[lines.index("NoNewPrivs:") + 1] == "1"
    kept = int(lines[lines.index("CapEff:") + 1], 16)
    assert kept == (0x800004FB if host.uid == 0 else 0)


def test_with_network_a_name_server_and_its_file_can_be_reached(host: Host, level: str) -> None:
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.1", 0))
    resolver.settimeout(5)
    port = resolver.getsockname()[1]
    command = f"cat /etc/resolv.conf; echo x > /dev/udp/127.0.0.1/{port}"
    outcome = host.run(level, command, network="outbound")
    assert resolver.recv(16) == b"x\n"
    assert Path("/etc/resolv.conf").read_text("utf-8") in outcome.output
    resolver.close()


def test_what_a_resolver_reads_below_run_is_there_and_nothing_else_of_run(host: Host, level: str) -> None:
    folder, file = Path("/run/interlock-test"), Path("/run/connman/resolv.conf")
    made = [path for path in (folder, file.parent) if not path.exists()]
    for path in made:
        path.mkdir()
    file.write_text("nameserver 192.0.2.1\n")
    try:
        outcome = host.run(level, f"cat {file}; ls /run; echo x >> {file}; echo x > /run/new", network="outbound")
        assert outcome.output.startswith("nameserver 192.0.2.1\n")
        assert folder.name not in outcome.output
        assert file.read_text("utf-8") == "nameserver 192.0.2.1\n"
        assert outcome.output.count("Read-only file system") + outcome.output.count("denied") == 2
    finally:
        file.unlink()
        for path in made:
            path.rmdir()


def test_a_base_behind_a_link_is_hidden_where_it_really_lies(host: Host, level: str, places: Places) -> None:
    real = owned_folder(places.top / "real", host)
    real.chmod(0o700)
    (places.top / "link").symlink_to(real)
    other = Host(host.uid, host.gid, host.home, str(places.top / "link"), abilities=dict(host.probe(), overlay_base=""))
    outcome = other.run(level, f"ls -A {real} {places.top}/link/", cwd=str(places.top))
    assert outcome.code == 0, outcome.output
    assert [line for line in outcome.output.split() if not line.startswith(str(places.top))] == []
    other.clean()


def test_file_systems_mounted_below_the_root_are_layers_of_their_own(login: Host, ground: Path) -> None:
    if login.uid:
        ground = Path(login.home)
    place = ground / "mounted"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"uid={login.uid}", "none", str(place)], check=True)
    try:
        (place / "old").write_text("old")
        outcome = login.run("staged", f"cat {place}/old; echo n > {place}/new; rm {place}/old")
        assert outcome.output == "old"
        assert outcome.changed == {f"{place}/old", f"{place}/new"}
        assert not (place / "new").exists()
        assert (place / "old").exists()
        assert "Read-only" in login.run("confined", f"echo n > {place}/new").output
        assert login.run("confined", f"echo n > {place}/new", writes=[str(place)]).code == 0
        assert (place / "new").exists()
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()
        login.clean()


@pytest.mark.parametrize(
    "path", ["/proc/sys/kernel/domainname", "/sys/kernel/x", "/dev/sda", "relative", "/etc/../etc/x"]
)
def test_what_no_room_can_give_is_refused_before_it_is_built(path: str, host: Host, level: str) -> None:
    outcome = host.run(level, "true", writes=[path])
    assert outcome.fault
    assert outcome.code == -1


def test_a_level_that_this_host_has_not_is_refused(host: Host) -> None:
    less = Host(
        host.uid,
        host.gid,
        host.home,
        host.base,
        abilities=dict(host.probe(), levels=["none"], missing={"staged": "why"}),
    )
    assert less.run("staged", "true").fault == "why"


def test_the_way_over_enter_namespaces_gives_the_same_room(host: Host, level: str, places: Places) -> None:
    outcome = host.run(level, f"echo x > {places.other}/new; ls /proc | grep -c '^[0-9]*$'; id -u", classic=True)
    assert outcome.output.split()[-1] == str(host.uid)
    assert not (places.other / "new").exists()


def test_the_probe_tells_what_was_tried_and_leaves_nothing(host: Host, ground: Path) -> None:
    before = sorted(Path(host.home).rglob("*"))
    host.abilities.clear()
    found = host.probe()
    assert found["levels"] == ["none", *LEVELS]
    assert found["overlay_base"] == host.base
    assert found["missing"] == {}
    assert json.loads(json.dumps(found)) == found
    assert sorted(Path(host.home).rglob("*")) == before


def test_a_base_that_cannot_hold_layers_is_replaced_by_one_that_can(ground: Path) -> None:
    base = ground / "flat"
    base.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "ramfs", "none", str(base)], check=True)  # no file system for upper directories
    try:
        base.chmod(0o700)
        host = Host(0, 0, str(ground), str(base))
        found = host.probe()
        assert "staged" in found["levels"]
        outcome = host.run("staged", f"echo x > {ground}/new; ls -A {base} {found['overlay_base']}")
        assert f"{ground}/new" in outcome.changed
        assert not (ground / "new").exists()
        host.clean()
    finally:
        subprocess.run(["umount", str(base)], check=True)


def test_covered_mounts_are_not_taken_for_visible_ones() -> None:
    points = [mount.point for mount in mounts_in_sight()]
    assert len(points) == len(set(points))
    assert "/" in points
