"""An authorization is good for exactly one call, host, plan and policy version, once, for a while."""

from dataclasses import replace

import pytest

from interlock.authorize import Authority, plan_digest
from interlock.ports import Run
from interlock_tools.call import Call
from interlock_tools.plan import RunCommand, WriteFile

NOW = 1_000.0
CALL = Call("c_1", "agent", "shell_run", "web1", {"command": "ls"})
PLAN = RunCommand("ls")
RUN = Run(CALL.call_id, CALL.digest, "web1", PLAN, 10.0)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def issued(authority: Authority):
    return authority.issue(CALL, PLAN, host="web1", policy_version="v1", lifetime_seconds=60)


def test_it_is_good_once_and_never_again() -> None:
    authority = Authority(Clock())
    leave = issued(authority)
    assert authority.consume(leave, RUN, "v1") is None
    second = authority.consume(leave, RUN, "v1")
    assert second is not None
    assert "used before" in second.reason


@pytest.mark.parametrize(
    ("run", "version"),
    [
        (replace(RUN, call_id="c_2"), "v1"),
        (replace(RUN, call_digest="0" * 64), "v1"),
        (replace(RUN, host="web2"), "v1"),
        (replace(RUN, plan=RunCommand("ls -a")), "v1"),
        (RUN, "v2"),
    ],
)
def test_it_is_not_good_for_anything_else(run: Run, version: str) -> None:
    authority = Authority(Clock())
    leave = issued(authority)
    assert authority.consume(leave, run, version) is not None
    assert authority.consume(leave, RUN, "v1") is None  # what it was issued for still is


@pytest.mark.parametrize(
    "change",
    [
        {"call_id": "c_2"},
        {"host": "web2"},
        {"expires": NOW + 10_000},
        {"nonce": "0" * 32},
        {"plan_digest": plan_digest(RunCommand("rm -rf /"))},
        {"signature": "0" * 64},
        {"signature": ""},
    ],
)
def test_an_altered_one_is_not_ours(change: dict[str, object]) -> None:
    authority = Authority(Clock())
    leave = replace(issued(authority), **change)
    refusal = authority.consume(leave, RUN, "v1")
    assert refusal is not None
    assert "not one of ours" in refusal.reason


def test_one_signed_by_another_process_is_not_ours() -> None:
    assert Authority(Clock()).consume(issued(Authority(Clock())), RUN, "v1") is not None


def test_it_expires() -> None:
    clock = Clock()
    authority = Authority(clock)
    leave = issued(authority)
    clock.now = NOW + 61
    refusal = authority.consume(leave, RUN, "v1")
    assert refusal is not None
    assert "expired" in refusal.reason


def test_two_files_with_other_bytes_have_other_plan_digests() -> None:
    assert plan_digest(WriteFile("/a", b"1")) != plan_digest(WriteFile("/a", b"2"))
    assert plan_digest(WriteFile("/a", b"1")) == plan_digest(WriteFile("/a", b"1"))
