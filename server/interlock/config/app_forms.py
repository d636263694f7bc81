"""The forms that texts of an app must have: paths, units, targets of checks, windows. It looks nothing up, says why."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from interlock.config.faults import did_you_mean
from interlock_policies.paths import normalised
from interlock_tools.apps import ManagerKind, Window

Fault = tuple[str, str]  # what is wrong, and what to do

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PORT_MAX = 65_535
_MINUTES_OF_A_DAY = 24 * 60
_UNIT = re.compile(r"(?!-)[A-Za-z0-9_@:.-]{1,200}")
_TCP = re.compile(r"(?:(?:\[([0-9a-fA-F:.]+)\]|[A-Za-z0-9_][A-Za-z0-9._-]{0,253}):)?([0-9]{1,5})")
_SPAN = r"[a-z]{3}(?:-[a-z]{3})?"
_WINDOW = re.compile(rf"({_SPAN}(?:,{_SPAN})*) +([0-9]{{2}}:[0-9]{{2}})-([0-9]{{2}}:[0-9]{{2}})")


def path_fault(path: str) -> Fault | None:
    """A place on a host: absolute, without "..", and not "/" itself."""
    if not path.startswith("/") or ".." in path.split("/"):
        return "an absolute path without .. is expected", 'such as "/srv/shop"'
    if normalised(path) == "/":
        return "this is the whole machine", "name a folder of its own"
    return None


def folder_fault(path: str) -> Fault | None:
    """The folder of an app: a place at least two components deep, so that it is nothing the system lives by."""
    if fault := path_fault(path):
        return fault
    if normalised(path).count("/") < 2:
        return "this folder holds more than one app", 'go at least two folders deep, such as "/srv/shop"'
    return None


def inside_fault(path: str) -> Fault | None:
    """A path inside a release: relative, without "..", and not the release itself."""
    if path.startswith("/") or ".." in path.split("/"):
        return "a relative path without .. is expected", 'as it is inside a release, such as "uploads"'
    if normalised(f"/{path}") == "/":
        return "this is the release itself", 'name a path inside it, such as "uploads"'
    return None


def unit_fault(unit: str, manager: ManagerKind) -> Fault | None:
    """The name of a service; runit knows one by the path of its folder, too."""
    if manager is ManagerKind.RUNIT and unit.startswith("/"):
        return path_fault(unit)
    if _UNIT.fullmatch(unit) and unit.strip("."):
        return None
    also = ", or the absolute path of its folder" if manager is ManagerKind.RUNIT else ""
    return "this is not the name of a unit", f'letters, digits and any of _ @ : . -, but no "-" at the start{also}'


def program_fault(argv: Sequence[str]) -> Fault | None:
    """The first word of an argv: it has to be a program."""
    if not argv[0].strip() or argv[0].startswith("-"):
        return "the first word names no program", 'such as ["./bin/migrate", "--yes"]'
    return None


def url_fault(text: str) -> Fault | None:
    """A URL of http or https with a host. A login in it would be a secret, so it is refused, unseen."""
    form = ("this is not a URL of http or https", 'such as "http://127.0.0.1:8080/health"')
    try:
        parts = urlsplit(text)
        if "@" in parts.netloc:
            return "a login does not belong in it", "check a page that needs none, or use a check of kind command"
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return form
    return None if usable and not re.search(r"\s", text) else form


def tcp_fault(text: str) -> Fault | None:
    """A port, or an address and a port; an IPv6 address stands in brackets."""
    form = ("this is neither a port nor address:port", 'such as "5432", "127.0.0.1:5432" or "[::1]:5432"')
    found = _TCP.fullmatch(text)
    if not found or not 1 <= int(found[2]) <= PORT_MAX:
        return form
    try:
        ipaddress.IPv6Address(found[1] or "::1")
    except ValueError:
        return form
    return None


def read_window(text: str) -> Window | Fault:
    """A window such as "mon-fri 09:00-17:00", or what is wrong with it. fri-mon goes over the weekend."""
    found = _WINDOW.fullmatch(text.strip().lower())
    if not found:
        return "this is not a window", 'days and times, such as "mon-fri 09:00-17:00" or "sat,sun 22:00-24:00"'
    days: set[int] = set()
    for span in found[1].split(","):
        ends = span.split("-")
        wrong = next((day for day in ends if day not in DAYS), "")
        if wrong:
            return "there is no such day", did_you_mean(wrong, DAYS)
        first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        days |= {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    first_minute, last_minute = _minute(found[2]), _minute(found[3])
    if not (0 <= first_minute < _MINUTES_OF_A_DAY and last_minute >= 0):
        return "there is no such time", "00:00 to 23:59, and 24:00 as an end"
    if last_minute <= first_minute:
        return "it does not end after its start", "over midnight write two: one to 24:00, one from 00:00 the next day"
    return Window(tuple(sorted(days)), first_minute, last_minute)


def _minute(time: str) -> int:
    """The minute of the day, up to 24:00; -1 where there is no such time."""
    hours, minutes = int(time[:2]), int(time[3:])
    total = hours * 60 + minutes
    return total if minutes < 60 and total <= _MINUTES_OF_A_DAY else -1
