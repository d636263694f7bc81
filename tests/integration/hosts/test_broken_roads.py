"""A road whose bytes are flipped or cut under a question: an answer or a refusal comes, and never an error of ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hosts_bench import bench_of
from interlock.hosts.program import runner_exec
from interlock.ports import PathQuery
from interlock_tools.errors import HostFault, HostUnreachable
from relay import Relay, running_relay
from sshd import Sshd

pytestmark = [pytest.mark.anyio, pytest.mark.openssh]

QUESTIONS = 12


async def _asked_while(sshd: Sshd, folder: Path, relay: Relay, *, corrupt: bool) -> list[object]:
    known = folder / "known_hosts"
    known.write_text(sshd.known_hosts.read_text().replace(f":{sshd.port}", f":{relay.port}"))
    answers: list[object] = []
    async with bench_of(folder / "state", sshd.settings(port=relay.port, known_hosts=known)) as bench:
        for number in range(QUESTIONS):
            await bench.hosts.resolve("box", [PathQuery("/", follow=True)])  # the file channel is open
            asked = asyncio.create_task(bench.hosts.resolve("box", [PathQuery("/etc", follow=True)]))
            if corrupt:
                relay.corrupt(number)
            else:
                await asyncio.sleep(0)
                relay.cut()
            answers.append(await asked)
    return answers


@pytest.mark.parametrize("corrupt", [True, False], ids=["corrupted", "cut"])
async def test_a_question_over_a_broken_road_is_answered_or_refused(sshd: Sshd, tmp_path: Path, corrupt: bool) -> None:
    with running_relay(sshd.port) as relay:
        answers = await _asked_while(sshd, tmp_path, relay, corrupt=corrupt)
    assert len(answers) == QUESTIONS
    for answer in answers:
        assert isinstance(answer, HostFault) or list(answer.paths.values()) == ["/etc"]


async def test_a_start_that_broke_off_before_it_began_ran_nothing_and_says_so(own_sshd, benches, monkeypatch, tmp_path):
    faults = iter([{"INTERLOCK_RUNNER_FAULTS": "helper-claimed=kill"}])
    monkeypatch.setattr("interlock.hosts.link.runner_exec", lambda become: runner_exec(become, next(faults, {})))
    bench = await benches(own_sshd.settings())
    done = await bench.sh(f"touch {tmp_path}/ran", seconds=60)
    assert isinstance(done.refusal, HostUnreachable)
    assert not done.started
    assert not (tmp_path / "ran").exists()
