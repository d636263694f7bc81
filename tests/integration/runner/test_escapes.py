"""Ways out of a room, tried from inside by root and by an ordinary user; the disk and the processes are the witness."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.runner.conftest import Places, filled, scripts
from interlock.runner import building, kernel, room
from rooms_bench import Host

SYSTEM_WITNESSES = ("/etc", "/etc/cron.d", "/etc/profile.d", "/etc/ssh", "/usr/local/bin", "/root", "/var/spool")
MARK = "escaped"  # whatever an attempt leaves outside has this in its name

ATTEMPTS = scripts("escapes.txt")  # each is tried as it stands; what it prints is of no interest but "OPENED"


def witnesses() -> set[str]:
    """Names with the mark, wherever an attempt of these could leave one on the host."""
    found = set()
    for folder in (*SYSTEM_WITNESSES, "/dev/shm", "/tmp", "/var/tmp", "/usr/bin"):
        if Path(folder).is_dir():
            found |= {str(path) for path in Path(folder).glob(MARK + "*")}
    return found


@pytest.mark.parametrize("name", ATTEMPTS)
def test_nothing_of_it_reaches_the_host(
    name: str, host: Host, level: str, places: Places, bystander: subprocess.Popen[bytes]
) -> None:
    before, seen, etc = places.picture(), witnesses(), Path("/etc").stat().st_mtime_ns
    passwd, domain = Path("/etc/passwd").read_bytes(), Path("/proc/sys/kernel/domainname").read_text("utf-8")
    names, device = os.uname().nodename, places.top.stat().st_dev
    command = filled(
        ATTEMPTS[name], other=places.other, declared=places.declared, top=places.top, pid=bystander.pid,
        major=os.major(device), minor=os.minor(device),
    )  # fmt: skip
    outcome = host.run(level, command, writes=[str(places.declared)], cwd=str(places.declared))
    assert not outcome.fault
    assert "ROOM FAULT" not in outcome.output
    assert "OPENED" not in outcome.output
    assert places.picture() == before, outcome.output
    assert not (witnesses() - seen), outcome.output
    assert bystander.poll() is None
    assert Path("/etc").stat().st_mtime_ns == etc
    assert Path("/etc/passwd").read_bytes() == passwd
    assert Path("/proc/sys/kernel/domainname").read_text("utf-8") == domain
    assert os.uname().nodename == names
    if level == "staged":
        assert not list(places.declared.iterdir())


def test_what_no_room_lets_through_is_what_the_host_itself_would(host: Host, places: Places) -> None:
    """The attempts mean something: outside of a room the first of them do what they say."""
    for name in ("plain write", "here-document", "interpreters"):
        before = places.picture()
        text = filled(ATTEMPTS[name], other=places.other, declared=places.declared)
        subprocess.run(["bash", "-c", text], user=host.uid, group=host.gid, extra_groups=[], check=False, timeout=20)
        assert places.picture() != before


OLDER = ("plain write", "hard link", "remount", "nested namespaces by system call", "raw device", "kernel settings")


@pytest.mark.parametrize("name", OLDER)
def test_older_kernels_hold_it_too(
    name: str,
    host: Host,
    level: str,
    places: Places,
    bystander: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without mount_setattr, without Landlock, and, where it is confined, without any overlay."""
    monkeypatch.setattr(kernel, "change_mount", lambda *_: False)
    less = dict(host.probe(), landlock_abi=0, overlay=level == "staged")
    older = Host(host.uid, host.gid, host.home, host.base, abilities=less)
    before, device = places.picture(), places.top.stat().st_dev
    command = filled(
        ATTEMPTS[name], other=places.other, declared=places.declared, top=places.top, pid=bystander.pid,
        major=os.major(device), minor=os.minor(device),
    )  # fmt: skip
    command += f"\necho x > {places.declared}/mine && echo WRITTEN; echo x > /tmp/interlock-scratch"
    outcome = older.run(level, command, writes=[str(places.declared)])
    older.clean()
    assert "WRITTEN" in outcome.output
    assert "OPENED" not in outcome.output
    assert places.picture() == before
    assert (places.declared / "mine").exists() is (level == "confined")
    assert not Path("/tmp/interlock-scratch").exists()


def test_on_an_older_kernel_a_mount_that_a_user_has_no_way_to_does_not_refuse_the_room(
    host: Host, level: str, places: Places, ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container engine's mounts lie below a directory of root's alone, on any host that has one."""
    monkeypatch.setattr(kernel, "change_mount", lambda *_: False)
    shut = ground / "shut"
    (shut / "mounted").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "none", str(shut / "mounted")], check=True)
    shut.chmod(0o700)
    older = Host(host.uid, host.gid, host.home, host.base, abilities=dict(host.probe(), landlock_abi=0))
    try:
        command = f"echo x > {shut}/mounted/reached; echo x > {places.other}/victim; echo BEGAN"
        outcome = older.run(level, command, writes=[str(places.declared)])
        assert "BEGAN" in outcome.output
        assert not (shut / "mounted" / "reached").exists()
        assert (places.other / "victim").read_text() == "as it was\n"
    finally:
        older.clean()
        subprocess.run(["umount", str(shut / "mounted")], check=True)
        shutil.rmtree(shut)


CALLS = (
    "kernel_mount",
    "change_mounts",
    "read_only_tree",
    "bring_up_loopback",
    "drop_capabilities",
    "landlock_restrict",
)


@pytest.mark.parametrize("number", [0, 1, 3, 5, 8, 13])
@pytest.mark.parametrize("call", CALLS)
def test_a_room_that_fails_anywhere_runs_nothing(
    call: str, number: int, host: Host, level: str, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = building if hasattr(building, call) else room
    real, left = getattr(module, call), [number]

    def failing(*arguments: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(22, "this one fails")
        return real(*arguments)

    host.probe()
    monkeypatch.setattr(module, call, failing)
    outcome = host.run(level, "echo BEGAN", writes=[str(places.declared)])
    assert ("BEGAN" in outcome.output) is ("fails" not in outcome.output)
    assert ("BEGAN" in outcome.output) is (outcome.code == 0)
    if number == 0:
        assert "ROOM FAULT" in outcome.output


@pytest.mark.parametrize("leaver", [
    "sleep 61.25 &", "setsid sleep 61.25 >/dev/null 2>&1 < /dev/null & disown", "(setsid nohup sleep 61.25 &) ; exit 0",
    "python3 -c 'import os, time; os.fork() or (os.setsid(), os.fork() or time.sleep(61.25))'; trap '' TERM HUP",
])  # fmt: skip
def test_what_a_command_leaves_running_ends_with_it(leaver: str, host: Host, level: str) -> None:
    outcome = host.run(level, leaver + "\nexit 0", seconds_max=10)
    assert outcome.code == 0
    assert not processes_named("61.25")


def test_a_room_ends_with_its_supervisor(host: Host, level: str, places: Places) -> None:
    places.declared.chmod(0o777)
    command = f"echo > {places.declared}/began; sleep 62.25"
    outcome = host.run(level, command, seconds_max=0.5, writes=[str(places.declared)])
    assert outcome.code == -1
    until = time.monotonic() + 5
    while processes_named("62.25") and time.monotonic() < until:
        time.sleep(0.01)
    assert not processes_named("62.25")


def processes_named(word: str) -> list[str]:
    """Command lines of the host's processes that have the word."""
    found = []
    for pid in (path.name for path in Path("/proc").glob("[0-9]*")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        found += [pid for text in words if text == word]
    return found


@contextmanager
def daemon(*listeners: socket.socket) -> Iterator[list[str]]:
    """Answers whoever comes, and remembers that someone did."""
    came: list[str] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                door, _ = listener.accept()
            except OSError:
                return
            came.append(str(listener.family))
            door.close()

    threads = [threading.Thread(target=serve, args=(one,), daemon=True) for one in listeners]
    for thread in threads:
        thread.start()
    yield came
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(5)


def unix_listener(name: str, relative_to: Path | None = None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    try:
        if relative_to is not None:
            os.chdir(relative_to)
        listener.bind(name)
        if not name.startswith("\0"):
            Path(name).chmod(0o777)
    finally:
        os.chdir(here)
    listener.listen(8)
    return listener


CONNECT = """python3 -c '
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.settimeout(2)
door.connect(sys.argv[1].replace("@", chr(0)))
print("REACHED")' """
LOOPBACK = {
    "/dev/tcp": "exec 3<>/dev/tcp/127.0.0.1/{port} && echo REACHED",
    "curl": "curl -s -m 2 http://127.0.0.1:{port}/; [ $? = 52 ] && echo REACHED",
    "ssh to itself": "ssh -o StrictHostKeyChecking=no -o ConnectTimeout=2 -o BatchMode=yes -p {port} 127.0.0.1 true",
    "python": 'python3 -c \'import socket; socket.create_connection(("localhost", {port}), 2); print("REACHED")\'',
}


@pytest.mark.parametrize("network", ["none", "outbound"])
@pytest.mark.parametrize("where", ["other", "declared", "run", "tmp", "shm", "abstract"])
def test_no_unix_socket_of_the_host_answers(
    where: str, network: str, host: Host, level: str, places: Places, tmp_path: Path
) -> None:
    word = places.top.name
    name = {
        "other": f"{places.other}/s", "declared": f"{places.declared}/s", "run": f"/run/interlock-{word}.sock",
        "tmp": f"/tmp/interlock-{word}.sock", "shm": f"/dev/shm/interlock-{word}.sock",
        "abstract": f"\0interlock-{word}",
    }[where]  # fmt: skip
    if where == "abstract" and network == "outbound" and not host.probe()["abstract_separable"]:
        pytest.skip("this kernel cannot separate abstract sockets, and says so")
    try:
        with daemon(unix_listener(name)) as came:
            outcome = host.run(
                level, CONNECT + f"'{name.replace(chr(0), '@')}'", network=network, writes=[str(places.declared)]
            )
            assert "REACHED" not in outcome.output
            assert "Error" in outcome.output
            assert not came
    finally:
        if where != "abstract":
            Path(name).unlink()


def test_a_socket_bound_by_a_relative_name_does_not_answer(host: Host, level: str, places: Places) -> None:
    here = Path.cwd()
    with daemon(unix_listener("s", places.other)) as came:
        try:
            os.chdir(places.other)  # its owner stands there
            outcome = host.run(level, CONNECT + f"'{places.other}/s'", network="outbound")
        finally:
            os.chdir(here)
        assert "REACHED" not in outcome.output
        assert not came


@pytest.mark.parametrize("way", LOOPBACK)
def test_without_network_no_daemon_of_the_host_answers(way: str, host: Host, level: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, daemon(listener) as came:
        outcome = host.run(level, LOOPBACK[way].format(port=listener.getsockname()[1]))
        assert "REACHED" not in outcome.output
        assert not came


def test_with_network_the_host_is_told_that_its_loopback_is_open(host: Host, level: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, daemon(listener) as came:
        host.run(level, f"exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]}", network="outbound")
        assert bool(came) is not host.probe()["loopback_separable"]


def test_no_named_pipe_of_the_host_is_fed(host: Host, level: str, places: Places) -> None:
    if host.probe()["landlock_abi"] < 2:
        pytest.skip("this kernel cannot keep a room from writing to named pipes")
    pipe = places.other / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        host.run(level, f"timeout 1 bash -c 'echo x > {pipe}'; timeout 1 bash -c 'echo x 1<> {pipe} >&1'")
        assert os.read(reader, 10) == b""
    finally:
        os.close(reader)


def test_a_place_that_was_swapped_for_a_link_meanwhile_is_refused(host: Host, places: Places) -> None:
    def swap() -> None:
        places.declared.rename(places.top / "away")
        places.declared.symlink_to(places.other)

    before = places.picture()
    outcome = host.run("confined", f"echo x > {places.declared}/escaped", prepare=swap, writes=[str(places.declared)])
    assert "leads to" in outcome.output
    assert places.picture() == before


def test_a_declared_link_is_refused(host: Host, level: str, places: Places) -> None:
    (places.top / "way").symlink_to(places.other)
    for path in (places.top / "way", places.top / "way" / "victim", places.top / "way" / "new"):
        assert host.run(level, "true", writes=[str(path)]).fault_code == "moved"


def test_a_room_has_no_open_file_but_its_three(host: Host, level: str) -> None:
    leak = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(leak, True)
    try:
        outcome = host.run(level, "", argv=["/bin/ls", "-l", "/proc/self/fd"])
    finally:
        os.close(leak)
    names = [line.split(" -> ")[1] for line in outcome.output.splitlines() if " -> " in line]
    assert len(names) == 4, outcome.output  # the fourth is the listing's own
    assert [name.split(":")[0] for name in names] == ["/dev/null", "pipe", "pipe", names[3]]


@pytest.mark.parametrize("program", ["mount", "nsenter", "unshare", "gdb"])
def test_the_attempts_find_their_programs(program: str) -> None:
    assert shutil.which(program) is not None or program == "gdb"
