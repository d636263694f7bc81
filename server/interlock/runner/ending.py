"""Ending: every process of a run, found, ended, and looked for again. It ends nothing that is not the run's.

A process belongs to a run if it carries the run's mark in its environment, is in the group or session of its leader
while that number still means the same leader, lives in the run's process namespace, or descends from one that does.
"""

import contextlib
import os
import signal
import time
from typing import Dict, Iterator, Set, Tuple

from interlock.runner.processes import start_ticks

CALL_MARK = "INTERLOCK_CALL"
ENVIRON_BYTES_MAX = 256 * 1024
KILL_SECONDS_MAX = 3.0
LOOK_SECONDS = 0.02


class RunTree:
    """The processes of one run. `leader`: the command's first process, or the first of its namespace."""

    def __init__(self, run: str, leader: int, ticks: int, namespace: str = "") -> None:
        self._mark = ("%s=%s" % (CALL_MARK, run)).encode()
        self._leader = leader
        self._ticks = ticks
        self._namespace = namespace
        self._mine: Dict[int, int] = {}
        self.seen: Set[Tuple[int, int]] = set()

    def find(self) -> Set[int]:
        """Their ids now; zombies have ended."""
        table = dict(_process_table())
        self._mine = {pid: ticks for pid, ticks in self._mine.items() if pid in table and table[pid][3] == ticks}
        leader_is_ours = self._leader > 0 and table.get(self._leader, (0, 0, 0, self._ticks))[3] == self._ticks
        for pid, (_, group, session, ticks) in table.items():
            if pid == os.getpid() or pid in self._mine:
                continue
            if (leader_is_ours and self._leader in (pid, group, session)) or self._carries(pid):
                self._mine[pid] = ticks
        grew = True
        while grew:
            young = [pid for pid in table if table[pid][0] in self._mine and pid not in (*self._mine, os.getpid())]
            self._mine.update({pid: table[pid][3] for pid in young})
            grew = bool(young)
        self.seen.update(self._mine.items())
        return set(self._mine)

    def _carries(self, pid: int) -> bool:
        if self._namespace:
            return process_namespace(pid) == self._namespace
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                return self._mark in file.read(ENVIRON_BYTES_MAX).split(b"\0")
        except OSError:
            return False

    def send(self, number: int, pids: Set[int]) -> None:
        """A signal to these processes of it."""
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, number)


def _process_table() -> Iterator[Tuple[int, Tuple[int, int, int, int]]]:
    """(pid, (parent, group, session, start)) of every process that has not ended."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields and fields[0] not in (b"Z", b"X"):
                yield int(name), (int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def process_namespace(pid: int) -> str:
    """The process namespace that a process lives in; "" where it cannot be seen."""
    try:
        return os.readlink("/proc/%d/ns/pid" % pid)
    except OSError:
        return ""


class TreeEnding:
    """The end of a run's tree in steps: TERM, grace, KILL, and a look. The namespace's first process is only killed."""

    def __init__(self, tree: RunTree, spared: int, grace_seconds: float, now: float) -> None:
        self._tree = tree
        self._spared = {spared}
        self._kill_at = now + grace_seconds
        self._give_up_at = self._kill_at + KILL_SECONDS_MAX
        self.left = 0
        # All are stopped first: a parent whose child just died would otherwise go on with its next command.
        for _ in range(2):
            tree.send(signal.SIGSTOP, tree.find() - self._spared)
        found = tree.find() - self._spared
        tree.send(signal.SIGTERM, found)
        tree.send(signal.SIGCONT, found)

    @property
    def found(self) -> int:
        """How many processes of the command were seen."""
        return len([pid for pid, _ in self._tree.seen if pid not in self._spared])

    def step(self, now: float) -> bool:
        """Go on; True once none is left, or nothing more can be done."""
        pids = self._tree.find()
        if now >= self._kill_at or not pids - self._spared:
            self._tree.send(signal.SIGKILL, pids)
        self.left = len(pids)
        return not pids or now >= self._give_up_at


def end_leftovers(run: str, known: Dict[str, int], grace_seconds: float) -> Tuple[int, int]:
    """End what a run without a supervisor left running: (found, left)."""
    tree = RunTree(run, known.get("leader", 0), known.get("leader_ticks", 0))
    if not tree.find():
        return 0, 0
    ending = TreeEnding(tree, 0, grace_seconds, time.monotonic())
    while not ending.step(time.monotonic()):
        time.sleep(LOOK_SECONDS)
    return ending.found, ending.left


def leader_of(pid: int) -> Dict[str, int]:
    """The fields of a run's second gate that name its first process."""
    return {"leader": pid, "leader_ticks": start_ticks(pid)}
