"""How a command ends: one typed line on standard error, and an exit code that says what kind of failure it was.

0   done
1   done, and the answer is no: a check failed, a record does not verify, a contract is broken
2   the command line itself is wrong
3   the configuration or the policy is wrong
4   there is no such call, approval, token, tool, host or principal
5   it cannot be done as things stand
6   the owner of the store cannot be reached, or another process owns it
70  a fault inside Interlock
130 interrupted
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

NO = 1
CONFIGURATION = 3
UNKNOWN = 4
REFUSED = 5
OWNER = 6
INTERNAL = 70
INTERRUPTED = 130

_BY_CODE = {
    "OWNER_SILENT": OWNER,
    "OWNER_UNREACHABLE": OWNER,
    "OWNER_FOREIGN": OWNER,
    "BUSY": OWNER,
    "FORBIDDEN": OWNER,
    "STATE_OPEN": CONFIGURATION,
    "PATH_TOO_LONG": CONFIGURATION,
    "BAD_REQUEST": 2,
    "ID_AMBIGUOUS": 2,
    "INTERNAL": INTERNAL,
}


class Ending(click.ClickException):
    """The end of a command that did not do what it was asked: lines of `CODE: what and where (how to mend it)`."""

    def __init__(self, exit_code: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.exit_code = exit_code  # type: ignore[misc]  # click itself reads it from the instance
        self.lines = lines

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.lines:
            click.echo(f"interlock: {line}", file=file or sys.stderr)


def typed(code: str, message: str, hint: str = "") -> str:
    """One line for a failure, whatever its texts hold."""
    from interlock_tools.visible import visible

    text = f"{code}: {message}" + (f" ({hint})" if hint else "")
    return visible(text.replace("\n", " ").strip(), 1_000)


@contextmanager
def failures() -> Iterator[None]:
    """Turn every failure of the house into an Ending. What is known is only imported when something failed."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except KeyboardInterrupt:
        raise Ending(INTERRUPTED, typed("INTERRUPTED", "interrupted")) from None
    except BrokenPipeError:
        raise
    except Exception as fault:  # noqa: BLE001 - the last door: nobody is shown a traceback
        raise ending_of(fault) from None


def ending_of(fault: Exception) -> Ending:
    """The ending for a failure."""
    from interlock.config import ConfigFault
    from interlock.control.faults import ControlFault
    from interlock_policies.statements import PolicyFault

    if isinstance(fault, BaseExceptionGroup) and len(fault.exceptions) == 1:
        inner = fault.exceptions[0]
        return ending_of(inner) if isinstance(inner, Exception) else Ending(INTERRUPTED, typed("INTERRUPTED", ""))
    if isinstance(fault, Ending):
        return fault
    if isinstance(fault, ConfigFault):
        return Ending(CONFIGURATION, *(typed("CONFIG", str(problem)) for problem in fault.problems))
    if isinstance(fault, PolicyFault):
        where = f"{fault.file}:{fault.line}" if fault.line else fault.file
        return Ending(CONFIGURATION, typed("POLICY", f"{where}: {fault.message}", fault.hint))
    if isinstance(fault, ControlFault):
        unknown = UNKNOWN if fault.code.endswith("_UNKNOWN") else REFUSED
        return Ending(_BY_CODE.get(fault.code, unknown), typed(fault.code, fault.message, fault.hint))
    return _rarer(fault)


def _rarer(fault: Exception) -> Ending:
    """Failures of the store and of serving, whose modules are large."""
    from interlock.publish.doors import ServeFault
    from interlock.store import StoreFault, StoreOwned

    if isinstance(fault, StoreOwned):
        return Ending(OWNER, typed("STORE_OWNED", str(fault)))
    if isinstance(fault, StoreFault):
        return Ending(REFUSED, typed("STORE", str(fault)))
    if isinstance(fault, ServeFault):
        return Ending(CONFIGURATION, typed("SERVE", fault.message, fault.hint))
    if isinstance(fault, OSError) and fault.filename:
        return Ending(REFUSED, typed("FILE", f"{fault.filename}: {fault.strerror}"))
    return Ending(INTERNAL, typed("INTERNAL", f"{type(fault).__name__}: {fault}", "please report it"))
