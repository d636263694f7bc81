"""Reading, listing, searching and resolving on a real OpenSSH server."""

# ruff: noqa: ASYNC240 - the host's disk and process table are looked at directly

import hashlib
import os
from pathlib import Path

import pytest

from hosts_bench import Bench, own, quick
from interlock.hosts.secret_files import FILES, is_secret
from interlock.ports import PathQuery
from interlock_policies.facts import HostFacts
from interlock_policies.paths import PathClass, classify
from interlock_tools.errors import ArgumentInvalid, PathInvalid
from interlock_tools.plan import DeleteFile, ListFiles, ReadFile, SearchFiles
from sshd import needs_openssh, processes_with

pytestmark = [pytest.mark.anyio, needs_openssh]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if "interlock" in path.name]


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_file_is_read_by_lines_with_its_size_and_hash(bench: Bench, work: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(1, 101))
    (work / "log").write_text(text)
    done = await bench.do(ReadFile(str(work / "log"), line=99, limit=5))
    assert done.refusal is None
    assert done.result["content"] == "line 99\nline 100\n"
    assert (done.result["line"], done.result["lines"], done.result["next_line"]) == (99, 2, None)
    assert done.result["sha256"] == sha(text.encode())
    assert done.result["size_bytes"] == len(text)
    part = await bench.do(ReadFile(str(work / "log"), line=2, limit=3))
    assert part.result["content"] == "line 2\nline 3\nline 4\n"
    assert part.result["next_line"] == 5
    assert part.result["truncated"]


async def test_paging_by_lines_and_by_bytes_gives_back_the_whole_file(bench: Bench, work: Path) -> None:
    text = "".join(f"{'é' * (number % 50)} {number}\n" for number in range(3000)) + "no end"
    (work / "long").write_text(text)
    got, line = "", 1
    while line is not None:
        done = await bench.do(ReadFile(str(work / "long"), line=line, limit=1000))
        got, line = got + done.result["content"], done.result["next_line"]
    assert got == text
    got, offset = "", 0
    while offset is not None:
        done = await bench.do(ReadFile(str(work / "long"), offset=offset, limit=9_999))
        got, offset = got + done.result["content"], done.result["next_offset"]
    assert got == text


async def test_a_large_file_is_read_in_pieces_without_its_hash(sshd, benches, work: Path) -> None:
    bench = await benches(sshd.settings(), limits=quick(file_bytes_max=100_000))
    (work / "large").write_bytes(b"0123456789abcde\n" * 40_000)
    done = await bench.do(ReadFile(str(work / "large"), line=30_000, limit=2))
    assert done.result["content"] == "0123456789abcde\n" * 2
    assert done.result["sha256"] is None
    done = await bench.do(ReadFile(str(work / "large"), offset=16 * 39_999, limit=100))
    assert done.result["content"] == "0123456789abcde\n"
    assert done.result["next_offset"] is None


async def test_binary_content_is_refused_as_text_and_the_recovery_reads_it(bench: Bench, work: Path) -> None:
    data = bytes(range(256)) * 10
    (work / "bin").write_bytes(data)
    done = await bench.do(ReadFile(str(work / "bin")))
    assert isinstance(done.refusal, ArgumentInvalid)
    assert done.refusal.next_step().arguments == {"encoding": "base64"}
    import base64

    again = await bench.do(ReadFile(str(work / "bin"), offset=0, limit=65_536, encoding="base64"))
    assert base64.b64decode(again.result["content"]) == data


async def test_a_file_of_proc_is_read_although_it_has_no_size(bench: Bench) -> None:
    done = await bench.do(ReadFile("/proc/self/status"))
    assert done.result["content"].startswith("Name:")


async def test_what_is_no_regular_file_is_refused_without_being_opened(bench: Bench, work: Path) -> None:
    os.mkfifo(work / "fifo")
    for path, word in ((work / "fifo", "fifo"), (work, "directory"), ("/dev/zero", "device")):
        done = await bench.do(ReadFile(str(path)), seconds=5)
        assert isinstance(done.refusal, PathInvalid)
        assert word in done.refusal.reason
    gone = await bench.do(ReadFile(str(work / "gone")))
    assert isinstance(gone.refusal, PathInvalid)
    assert gone.refusal.next_step().tool == "file_list"
    assert gone.refusal.next_step().arguments == {"host": "box", "path": str(work)}


# ── listing and searching ────────────────────────────────────────────────────────────────────────────────────────────


def tree(work: Path) -> None:
    (work / "a" / "deep").mkdir(parents=True)
    (work / "a" / "one.py").write_text("import os\nprint('hello')\n")
    (work / "a" / "deep" / "two.py").write_text("x = 1\nprint('HELLO')\ny = 2\n")
    (work / "b.txt").write_text("hello\n")
    (work / ".hidden").write_text("hello\n")
    (work / "link").symlink_to("/etc")
    (work / "weird\nname").write_text("hello $HOME `id`\n")


async def test_a_folder_is_listed_with_kinds_and_owners(bench: Bench, work: Path) -> None:
    tree(work)
    done = await bench.do(ListFiles(str(work)))
    by_name = {entry["name"]: entry for entry in done.result["entries"]}
    assert set(by_name) == {"a", "b.txt", ".hidden", "link", "weird\nname"}
    assert by_name["a"]["type"] == "directory"
    assert by_name["link"]["type"] == "link"
    assert by_name["link"]["target"] == "/etc"
    assert by_name["b.txt"]["size_bytes"] == 6
    assert by_name["b.txt"]["owner"] in ("root", os.environ.get("USER", "root"))
    assert by_name["b.txt"]["modified"].endswith("+00:00")
    plain = await bench.do(ListFiles(str(work), hidden=False))
    assert ".hidden" not in {entry["name"] for entry in plain.result["entries"]}


async def test_globs_reach_into_the_tree_and_pages_join(bench: Bench, work: Path) -> None:
    tree(work)
    done = await bench.do(ListFiles(str(work), glob="*.py", recursive=True))
    assert [entry["name"] for entry in done.result["entries"]] == ["a/deep/two.py", "a/one.py"]
    done = await bench.do(ListFiles(str(work), glob="**/two.*"))
    assert [entry["name"] for entry in done.result["entries"]] == ["a/deep/two.py"]
    everything, after = [], ""
    while True:
        page = await bench.do(ListFiles(str(work), recursive=True, limit=2, after=after))
        everything += [entry["name"] for entry in page.result["entries"]]
        after = page.result["next_after"]
        if after is None:
            break
    assert everything == sorted(everything)
    assert len(everything) == 8
    assert not any(name.startswith("link/") for name in everything)


async def test_lines_are_found_by_text_and_by_expression(bench: Bench, work: Path) -> None:
    tree(work)
    done = await bench.do(SearchFiles(str(work), "hello", ignore_case=True, glob="*.py", context_lines=1))
    rows = [(Path(row["path"]).name, row["line"], row["context"]) for row in done.result["matches"]]
    assert ("one.py", 2, False) in rows
    assert ("two.py", 2, False) in rows
    assert ("two.py", 3, True) in rows
    literal = await bench.do(SearchFiles(str(work), "print('"))
    assert len(literal.result["matches"]) == 2
    tricky = await bench.do(SearchFiles(str(work), "$HOME `id`"))
    assert len(tricky.result["matches"]) == 1
    none = await bench.do(SearchFiles(str(work), "-e nothing --"))
    assert none.refusal is None
    assert none.result["matches"] == []
    few = await bench.do(SearchFiles(str(work), "hello", ignore_case=True, limit=2))
    assert len([row for row in few.result["matches"] if not row["context"]]) == 2
    assert few.result["truncated"]
    bad = await bench.do(SearchFiles(str(work), "a(b", regex=True))
    assert isinstance(bad.refusal, ArgumentInvalid)
    assert bad.refusal.path == "pattern"


async def test_a_search_of_a_tree_leaves_files_that_are_named_like_secrets_unread(bench: Bench, work: Path) -> None:
    secret = (".env", ".env.local", "server.key", "id_ed25519", "credentials.json", ".ssh/own", ".docker/config.json")
    for name in (*secret, "app.py", ".env.example", "sub/secrets.py"):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text("TOKEN=hello\n")
    done = await bench.do(SearchFiles(str(work), "TOKEN"))
    found = {str(Path(row["path"]).relative_to(work.resolve())) for row in done.result["matches"]}
    assert found == {"app.py", ".env.example", "sub/secrets.py"}
    assert ".env" in done.result["left_out"]
    only = await bench.do(SearchFiles(str(work), "TOKEN", glob=".env*"))
    assert [Path(row["path"]).name for row in only.result["matches"]] == [".env.example"]
    python = await bench.do(SearchFiles(str(work), "TOKEN", glob="*.py"))
    assert {Path(row["path"]).name for row in python.result["matches"]} == {"app.py", "secrets.py"}
    named = await bench.do(SearchFiles(str(work / ".env"), "TOKEN"))
    assert (len(named.result["matches"]), named.result["left_out"]) == (1, "")


async def test_what_is_masked_on_a_host_is_not_found_by_a_search_by_any_of_its_names(sshd, benches, work: Path) -> None:
    for name in ("vault/one", "vault/sub/two", "open/three"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("TOKEN=hello\n")
    (work / "way").symlink_to("vault")
    for masked in (f"{work}/vault", f"{work}/way", f"{work}/v*t"):
        bench = await benches(sshd.settings(masked=(masked,)))
        facts = await bench.hosts.facts("box")
        done = await bench.do(SearchFiles(str(work), "TOKEN"))
        assert [Path(row["path"]).name for row in done.result["matches"]] == ["three"], masked
        assert PathClass.SECRET in classify(f"{work.resolve()}/vault/one", facts), masked


@pytest.mark.parametrize("name", FILES)
def test_what_a_search_leaves_unread_is_what_the_policy_calls_a_secret(name: str) -> None:
    example = name
    for special, plain in (("[._-]", "-"), ("[-_]", "-"), (".*_", ".bash_"), (".env.*", ".env.local"), ("*", "")):
        example = example.replace(special, plain)
    assert is_secret(f"/srv/app/{example}", HostFacts("box"))


async def test_a_search_that_takes_too_long_is_ended_on_the_host(bench: Bench, work: Path) -> None:
    # An odd number of letters never fits twice the groups, and grep tries every way of dividing them.
    (work / "odd").write_text("a" * 20_001 + "b\n")
    plan = SearchFiles(str(work), r"^(a*)(a*)(a*)\1\2\3c?b$", regex=True)
    done = await bench.do(plan, seconds=1.0, call_id=own("search-1"))
    assert done.refusal is not None
    assert done.refusal.code == "TIMED_OUT"
    assert not processes_with(f"INTERLOCK_CALL={own('search-1')}")


async def test_a_planted_program_on_the_path_is_not_what_our_own_scripts_run(sshd, benches, work: Path) -> None:
    for name in ("grep", "rm", "find", "sleep", "env", "setsid"):
        planted = work / "bin" / name
        planted.parent.mkdir(exist_ok=True)
        planted.write_text(f"#!/bin/sh\ntouch {work}/planted-{name}\n")
        planted.chmod(0o755)
    (work / "tree").mkdir()
    bench = await benches(sshd.settings(path=f"{work}/bin:/usr/bin:/bin"))
    await bench.do(SearchFiles(str(work), "x"))
    await bench.do(DeleteFile(str(work / "tree"), recursive=True), declared=(str(work),))
    done = await bench.sh("while :; do :; done", seconds=1.0)
    assert done.refusal.code == "TIMED_OUT"
    assert not list(work.glob("planted-*"))
    assert not (work / "tree").exists()


# ── resolving ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_paths_resolve_as_the_kernel_would_find_them(bench: Bench, work: Path) -> None:
    (work / "dir").mkdir()
    (work / "to_dir").symlink_to("dir")
    (work / "dangling").symlink_to("/srv/none/such")
    (work / "new").symlink_to(work / "dir" / "later")
    wanted = {
        PathQuery(str(work / "to_dir" / "f")): str(work / "dir" / "f"),
        PathQuery(str(work / "to_dir" / "x" / "y")): str(work / "dir" / "x" / "y"),
        PathQuery(str(work / "to_dir"), follow=False): str(work / "to_dir"),
        PathQuery(str(work / "to_dir")): str(work / "dir"),
        PathQuery(str(work / "dangling" / "deep")): "/srv/none/such/deep",
        PathQuery(str(work / "new")): str(work / "dir" / "later"),
        PathQuery(str(work / "to_dir" / ".." / "dir")): str(work / "dir"),
        PathQuery("/"): "/",
    }
    found = await bench.hosts.resolve("box", list(wanted))
    assert dict(found.paths) == wanted


async def test_a_loop_of_links_is_a_typed_refusal(bench: Bench, work: Path) -> None:
    (work / "a").symlink_to("b")
    (work / "b").symlink_to("a")
    found = await bench.hosts.resolve("box", [PathQuery(str(work / "a" / "c"))])
    assert isinstance(found, PathInvalid)
    relative = await bench.hosts.resolve("box", [PathQuery("relative")])
    assert isinstance(relative, PathInvalid)
    many = await bench.hosts.resolve("box", [PathQuery(f"/{number}") for number in range(1000)])
    assert isinstance(many, PathInvalid)
