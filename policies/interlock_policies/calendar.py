"""Calendars of apps: windows and freezes as answers for a moment that is given; it reads no clock and decides nothing.

Windows and freezes count days and minutes as a clock on the wall of the app's time zone shows them. On the day on which
that clock is set forward, a minute that it skips never comes; on the day on which it is set back, one comes twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from interlock_tools.apps import Freeze, Window

NO_REASON = "a freeze"
_DAY = timedelta(days=1)


class _Machine(tzinfo):
    """The machine's own time zone with its changes of the clock; a plain `astimezone()` keeps one offset for ever."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return moment.replace(tzinfo=None).astimezone().utcoffset() if moment else None

    def dst(self, _: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return moment.replace(tzinfo=None).astimezone().tzname() if moment else None

    def fromutc(self, moment: datetime) -> datetime:
        local = moment.replace(tzinfo=UTC).astimezone()
        shown = local.replace(tzinfo=self)
        return shown if shown.utcoffset() == local.utcoffset() else shown.replace(fold=1)


_MACHINE = _Machine()


def zone_of(timezone: str) -> tzinfo:
    """The time zone of this IANA name; "" is the machine's own. Raises ValueError where this machine knows none."""
    if not timezone:
        return _MACHINE
    try:
        return ZoneInfo(timezone)
    except (LookupError, OSError, ValueError):
        raise ValueError(
            f"this machine knows no time zone {timezone[:80]!r}; write one like 'Europe/Berlin', or install tzdata"
        ) from None


def local_time(seconds: float, timezone: str) -> datetime:
    """This moment (seconds since 1970, UTC) as the wall of that time zone shows it; `timezone` as in `zone_of`."""
    return datetime.fromtimestamp(seconds, zone_of(timezone))


def in_window(windows: Sequence[Window], now: datetime) -> bool:
    """True where `now` (local, aware) lies in one of these windows. No windows at all: always.

    A window that ends before it begins holds nothing; a night is two windows.
    """
    minute = now.hour * 60 + now.minute
    return not windows or any(
        now.weekday() in window.days and window.first_minute <= minute < window.last_minute for window in windows
    )


def frozen(freezes: Sequence[Freeze], now: datetime) -> str:
    """Why nothing is released at `now` (local): the reason of the first freeze in force; "" where there is none."""
    today = now.date()
    for freeze in freezes:
        if date.fromisoformat(freeze.first) <= today <= date.fromisoformat(freeze.last):
            return freeze.reason or NO_REASON
    return ""
