"""Processes by name: what tells one from every other, also after it has ended. It starts and ends none."""

from functools import lru_cache
from typing import Any, Dict

Identity = Dict[str, Any]


@lru_cache(maxsize=1)
def boot_id() -> str:
    """This boot's id; "" where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def start_ticks(pid: int) -> int:
    """When the process started, in kernel ticks since boot; 0 where there is none, or it has ended."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


@lru_cache(maxsize=1)
def own_identity(pid: int) -> Identity:
    """What names this process for ever: its id (given, so that a fork asks anew), its start and the boot."""
    return {"pid": pid, "start_ticks": start_ticks(pid), "boot": boot_id()}


def is_alive(known: Identity) -> bool:
    """Whether the process of an identity still runs."""
    ticks = known.get("start_ticks", 0)
    return bool(ticks) and known.get("boot") == boot_id() and start_ticks(int(known.get("pid", 0))) == ticks
