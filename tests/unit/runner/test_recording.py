"""A run's record: one mkdir, one rename, whoever races; the disk is the witness."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.runner.gone import has_expired, note_expired
from interlock.runner.processes import boot_id, own_identity
from interlock.runner.recording import begin_run, claim_run, claim_void, end_run, raise_fence, run_state, void_run
from interlock.runner.rundirs import RunFault, make_runs_place

ORDER = {"order": {"level": "none"}, "fence": 3}


@pytest.fixture
def rundir(tmp_path: Path) -> str:
    return str(tmp_path / "r")


def raced(*works: Callable[[], bool]) -> list[bool]:
    """Each in a process of its own, all let go at once: who won."""
    read, write = os.pipe()
    children = []
    for work in works:
        pid = os.fork()
        if pid == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(1 if work() else 0)
        children.append(pid)
    os.close(read)
    os.close(write)
    return [bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) for pid in children]


def test_of_twenty_who_claim_one_wins(rundir: str) -> None:
    assert sum(raced(*[lambda: claim_run(rundir, ORDER)] * 20)) == 1
    assert run_state(rundir) == ("starting", ORDER)


@pytest.mark.parametrize("_round", range(30))
def test_a_run_begins_or_is_void_and_never_both(rundir: str, _round: int) -> None:
    claim_run(rundir, ORDER)
    begins = lambda: begin_run(rundir, own_identity(os.getpid())) >= 0  # noqa: E731 - three of a kind
    won = raced(begins, lambda: void_run(rundir, "late"), lambda: void_run(rundir, "later"))
    assert sum(won) == 1
    state, record = run_state(rundir)
    assert state == "lost"
    assert ("void" in record) == (not won[0])


@pytest.mark.parametrize("_round", range(30))
def test_who_claims_and_who_voids_an_unclaimed_directory_do_not_both_win(rundir: str, _round: int) -> None:
    Path(rundir).mkdir()
    claims = lambda: not Path(rundir, "claim").exists() and _claimed(rundir)  # noqa: E731 - as claim_run goes on
    raced(claims, lambda: void_run(rundir, "late"))
    began = begin_run(rundir, {"pid": 1}) >= 0 if run_state(rundir)[0] == "starting" else False
    assert run_state(rundir)[0] == "lost"
    assert "void" not in run_state(rundir)[1] or not began


def _claimed(rundir: str) -> bool:
    from interlock.runner import recording

    return recording._new_claim(rundir, ORDER)


def test_a_run_goes_from_claim_to_end_in_one_file(rundir: str) -> None:
    claim_run(rundir, ORDER)
    record = begin_run(rundir, own_identity(os.getpid()))
    assert run_state(rundir)[0] == "running"
    assert not void_run(rundir, "too late")
    end_run(rundir, record, {"exit_code": 0})
    state, known = run_state(rundir)
    assert (state, known["end"], known["fence"]) == ("ended", {"exit_code": 0}, 3)
    assert [path.name for path in Path(rundir).iterdir()] == ["ended"]
    assert not void_run(rundir, "too late")


def test_an_end_that_a_crash_tore_is_no_end(rundir: str) -> None:
    claim_run(rundir, ORDER)
    record = begin_run(rundir, {**own_identity(os.getpid()), "start_ticks": 1})
    os.write(record, b'\n{"end": {"exit_co')
    assert run_state(rundir)[0] == "lost"
    end_run(rundir, record, {"exit_code": 1})
    assert run_state(rundir)[1]["end"] == {"exit_code": 1}


def test_a_supervisor_of_another_boot_or_of_a_reused_number_is_gone(rundir: str) -> None:
    claim_run(rundir, ORDER)
    assert boot_id()
    begin_run(rundir, {**own_identity(os.getpid()), "boot": "another"})
    assert run_state(rundir)[0] == "lost"


def test_after_a_power_cut_that_took_the_new_name_a_run_that_may_have_begun_is_not_told_as_never_begun(
    rundir: str,
) -> None:
    claim_run(rundir, ORDER)
    begin_run(rundir, {**own_identity(os.getpid()), "boot": "of-before"})
    os.rename(f"{rundir}/begun", f"{rundir}/claim")
    assert run_state(rundir)[0] == "lost"
    assert not void_run(rundir, "it never began")
    assert run_state(rundir)[1].get("void") is None
    assert not claim_run(rundir, ORDER)


def test_an_absent_id_that_was_asked_for_never_starts(rundir: str) -> None:
    assert run_state(rundir) == ("absent", {})
    assert claim_void(rundir)
    assert not claim_void(rundir)
    assert not claim_run(rundir, ORDER)
    assert run_state(rundir)[0] == "void"


def test_an_older_fence_may_not_and_a_newer_is_remembered(rundir: str) -> None:
    claim_run(rundir, ORDER)
    assert not raise_fence(rundir, 2)
    assert raise_fence(rundir, 3)
    assert raise_fence(rundir, 5)
    assert not raise_fence(rundir, 4)


def test_a_claim_that_finds_no_room_leaves_nothing_that_looks_like_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunFault) as fault:
        claim_run(str(tmp_path / "no" / "r"), ORDER)
    assert fault.value.code == "unavailable"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_ours_alone_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "runs"
    assert make_runs_place(str(place)) == str(place)
    assert place.stat().st_mode & 0o777 == 0o700
    place.chmod(0o770)
    with pytest.raises(RunFault, match="written by others"):
        make_runs_place(str(place))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RunFault, match="own"):
        make_runs_place(str(tmp_path / "link"))
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(RunFault, match="above"):
        make_runs_place(str(tmp_path / "open" / "runs"))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory away")
def test_a_place_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o700)
    os.chown(tmp_path / "runs", 65534, 65534)
    with pytest.raises(RunFault, match="own"):
        make_runs_place(str(tmp_path / "runs"))


def test_a_killed_claimer_leaves_a_claim_that_can_still_be_voided(rundir: str) -> None:
    pid = os.fork()
    if pid == 0:
        claim_run(rundir, ORDER)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert void_run(rundir, "its starter is gone")
    assert begin_run(rundir, own_identity(os.getpid())) == -1


def test_what_has_expired_begins_no_second_time_and_is_not_told_as_never_begun(tmp_path: Path, rundir: str) -> None:
    note_expired(str(tmp_path), ["other", "r"])
    note_expired(str(tmp_path), ["rr"])
    for again in (lambda: claim_run(rundir, ORDER), lambda: claim_void(rundir)):
        with pytest.raises(RunFault) as caught:
            again()
        assert caught.value.code == "expired"
        assert not Path(rundir).exists()
    assert claim_run(str(tmp_path / "rrr"), ORDER)


def test_what_expired_is_remembered_within_bounds_the_newest_the_longest(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("interlock.runner.gone.EXPIRED_BYTES_MAX", 1_000)
    for number in range(300):
        note_expired(str(tmp_path), [f"run-{number}"])
        assert (tmp_path / ".expired").stat().st_size <= 1_000
        assert has_expired(str(tmp_path / f"run-{number}"))
    assert (tmp_path / ".expired").stat().st_mode & 0o777 == 0o600
    assert has_expired(str(tmp_path / "run-260"))
    assert not has_expired(str(tmp_path / "run-26"))
