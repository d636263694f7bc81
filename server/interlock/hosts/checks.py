"""Postconditions, measured on the host itself with bounded waits. What cannot be measured did not pass."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from interlock.hosts.check_scripts import UNMEASURED, Probe, probe_of
from interlock.hosts.ending import ask_or_end
from interlock.hosts.environment import Surroundings
from interlock.hosts.faults import Faulted
from interlock.hosts.link import Link, Live
from interlock.hosts.quick import Said
from interlock_tools.call import Check
from interlock_tools.envelope import Verified

CHECKS_MAX = 50
CHECK_SECONDS = 15.0
WAIT_SECONDS = 5.0  # how long a service, a port or a page may take to come up
WAIT_SECONDS_MAX = 600.0
COMMAND_SECONDS = 60.0
DETAIL_CHARS_MAX = 200


async def measure(
    link: Link,
    live: Live,
    around: Surroundings,
    checks: Sequence[Check],
    exit_code: int | None,
    redact: Callable[[str], str],
    wait_seconds: float = WAIT_SECONDS,
) -> tuple[Verified, ...]:
    """Every check in order. A fault of the road makes that check and all after it unmeasured, never passed.

    `wait_seconds`: how long each service, port or page may take to come up; 0 = one try, for who tries by itself.
    """
    wait_seconds = min(max(wait_seconds, 0.0), WAIT_SECONDS_MAX)
    found: list[Verified] = []
    for check in checks[:CHECKS_MAX]:
        if check.check == "exit_code":
            found.append(_exit_code(check, exit_code))
            continue
        probe = probe_of(check)
        if isinstance(probe, str):
            found.append(Verified(check.check, check.target, passed=False, detail=f"it cannot be measured: {probe}"))
            continue
        found.append(await _measured(link, live, around, check, probe, redact, wait_seconds))
    found += [
        Verified(check.check, check.target, passed=False, detail=f"only {CHECKS_MAX} checks are measured")
        for check in checks[CHECKS_MAX:]
    ]
    return tuple(found)


def _exit_code(check: Check, exit_code: int | None) -> Verified:
    wanted = check.expected or "0"
    if exit_code is None:
        return Verified(check.check, check.target, passed=False, detail="the exit code is not known")
    passed = wanted.strip() == str(exit_code)
    return Verified(check.check, check.target, passed, f"exit code {exit_code}, expected {wanted}")


async def _measured(
    link: Link,
    live: Live,
    around: Surroundings,
    check: Check,
    probe: Probe,
    redact: Callable[[str], str],
    wait_seconds: float,
) -> Verified:
    seconds = COMMAND_SECONDS if probe.theirs else CHECK_SECONDS
    environment = {"HOME": around.home} | ({"PATH": link.host.path} if probe.theirs else {})
    try:
        said = await ask_or_end(
            link,
            live,
            probe.text(wait_seconds),
            call_id=f"check-{secrets.token_hex(8)}",
            cwd=around.cwd,
            environment=environment,
            timeout_seconds=seconds + max(wait_seconds - WAIT_SECONDS, 0.0) * probe.patient,
        )
    except Faulted as fault:
        detail = f"it could not be measured: {fault.refusal.reason}"
        return Verified(check.check, check.target, passed=False, detail=detail)
    return Verified(check.check, check.target, said.exit_code == 0, redact(_detail(said, probe)))


def _detail(said: Said, probe: Probe) -> str:
    words = " ".join((said.stdout + " " + said.stderr).split())[:DETAIL_CHARS_MAX]
    if said.exit_code == UNMEASURED:
        return f"it cannot be measured on this host: {words}"
    text = probe.passed if said.exit_code == 0 else probe.failed
    return f"{text}: {words}" if words and (probe.says or said.exit_code) else text
