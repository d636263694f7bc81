"""A staged run of an ordinary user: owners and groups are the host's, in the diff, after landing, after an undo."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner_channel import RunnerChannel, runner_channel

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")

USER, GROUP = 64124, 64125  # nobody of this machine, and a group beside its own


@pytest.fixture
def ground() -> Iterator[Path]:
    """A home of the user's, its run directories and its work; the work holds files of both groups and of root."""
    folder = Path(tempfile.mkdtemp(prefix="interlock-user-", dir="/srv"))
    (folder / "work").mkdir()
    (folder / "runs").mkdir(mode=0o700)
    for name, owner, group in (("own", USER, USER), ("shared", USER, GROUP), ("roots", 0, 0), ("swapped", USER, GROUP)):
        (folder / "work" / name).write_text(f"{name}\n")
        os.chown(folder / "work" / name, owner, group)
        (folder / "work" / name).chmod(0o664)
    for path in (folder, folder / "work", folder / "runs"):
        os.chown(path, USER, USER)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def users(ground: Path) -> Iterator[RunnerChannel]:
    """A helper of the user's own, as its login would start it."""
    login = {"user": USER, "group": USER, "extra_groups": [GROUP]}
    with runner_channel(str(ground / "runs"), cwd="/", env={"HOME": str(ground)}, **login) as channel:
        if "staged" not in channel.ask("hello")["abilities"]["levels"]:
            pytest.skip("ordinary users have no staged rooms here")
        yield channel


def owners(work: Path) -> dict[str, tuple[str, int, int]]:
    return {
        path.name: (path.read_text(), path.lstat().st_uid, path.lstat().st_gid)
        for path in sorted(work.iterdir())
        if path.is_file()
    }


def test_the_diff_the_landing_and_the_undo_know_the_owners_and_groups_that_the_host_knows(
    users: RunnerChannel, ground: Path
) -> None:
    work = ground / "work"
    before = owners(work)
    command = "echo more >> own; rm roots swapped; echo new > new; cp shared other; mv other shared"
    answer = users.run("staged", command, level="staged", network="none", cwd=str(work), writes=[str(work)])
    assert (answer["end"]["exit_code"], answer["end"]["observed"]) == (0, "staged"), answer
    assert owners(work) == before, "nothing lands by itself"
    told = {Path(one["path"]).name: one for one in answer["changes"]}
    assert {name: (one["op"], one["uid"], one["gid"]) for name, one in told.items()} == {
        "own": ("modify", USER, USER), "roots": ("delete", 0, 0), "swapped": ("delete", USER, GROUP),
        "new": ("create", USER, USER), "shared": ("meta", USER, USER),
    }  # fmt: skip
    assert f"owner {USER}:{GROUP} → {USER}:{USER}" in told["shared"]["detail"], "a copy is this user's alone"
    assert users.ask("land", run="staged", digest=answer["layer"])["state"] == "landed"
    assert owners(work) == {
        "own": ("own\nmore\n", USER, USER), "shared": ("shared\n", USER, USER), "new": ("new\n", USER, USER),
    }  # fmt: skip
    assert users.ask("undo", run="staged")["state"] == "undone"
    assert owners(work) == before


def test_a_file_of_another_group_cannot_be_written_in_a_layer_and_the_command_is_told(
    users: RunnerChannel, ground: Path
) -> None:
    work = ground / "work"
    before = owners(work)
    answer = users.run(
        "staged", "cat shared; echo more >> shared", level="staged", network="none", cwd=str(work), writes=[str(work)]
    )
    assert (answer["stdout"], answer["end"]["exit_code"], answer["changes"]) == (b"shared\n", 1, [])
    assert b"Value too large" in answer["stderr"], "a user's layer has no name for a group that is not its own"
    assert owners(work) == before
