"""Faults of this room: what goes wrong on the way to a host, as one exception with its refusal. It handles none."""

from __future__ import annotations

import asyncssh

from interlock_tools.errors import AuthFailed, HostBusy, HostFault, HostUnreachable, Recovery, Refusal


class Faulted(Exception):
    """An I/O fault, with the refusal it becomes at the room's door.

    `began` is False only where it is certain that nothing began on the host. `counts` says whether the circuit breaker
    hears of it: transport faults do, policy and credentials do not.
    """

    def __init__(self, refusal: Refusal, *, began: bool = False, counts: bool = True) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.began = began
        self.counts = counts


def unreachable(reason: str) -> Faulted:
    """The host does not answer, or stopped answering, before anything began."""
    return Faulted(HostUnreachable(reason=reason))


def busy(reason: str, retry_after_seconds: int) -> Faulted:
    """The host, or our share of it, has no room for another session right now."""
    return Faulted(HostBusy(reason=reason, retry_after_seconds=max(1, retry_after_seconds)), counts=False)


def no_shell(shell: str, seen: str) -> Faulted:
    """The pinned shell did not start: nothing of the call was read on the host."""
    doctor = Recovery.ask("'interlock doctor' names what is missing on the host.")
    said = f"; the host said: {seen}" if seen else ""
    refusal = HostFault(reason=f"{shell} did not start there{said}")
    return Faulted(HostUnreachable(reason=refusal.reason, recovery=doctor), counts=False)


def no_files(seen: str) -> Faulted:
    """The host answers, and offers no file channel."""
    doctor = Recovery.ask("'interlock doctor' says how SFTP is enabled on the host.")
    return Faulted(HostUnreachable(reason=f"it offers no SFTP: {seen}", recovery=doctor), counts=False)


def not_become(user: str, seen: str) -> Faulted:
    """sudo -n did not let the login become the configured user."""
    said = f"; it said: {seen}" if seen else ""
    return Faulted(AuthFailed(reason=f"sudo -n -u {user} was refused{said}"), counts=False)


def describe(fault: BaseException) -> str:
    """One short sentence for an error of asyncssh, the socket or the clock; never a trace."""
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, asyncssh.Error):
        return fault.reason or type(fault).__name__
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(fault) or type(fault).__name__
