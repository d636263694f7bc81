"""Calendars of apps: windows and freezes as answers for a moment that is given; it reads no clock and decides nothing.

Windows and freezes count days and minutes as a clock on the wall of the app's time zone shows them. On the day on which
that clock is set forward, a minute that it skips never comes; on the day on which it is set back, one comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from interlock_tools.apps import Freeze, Window

AHEAD_DAYS_MAX = 14
NO_REASON = "a freeze"
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)


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


def next_open(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When the next window begins after `now` (local, aware), in its time zone; None within AHEAD_DAYS_MAX days.

    Windows that touch are one: where the second follows on the first, nothing begins. A window whose beginning is
    skipped by a change of the clock begins right after that change.
    """
    zone = now.tzinfo
    # Moments are compared as UTC: within one time zone Python compares what the wall shows, which may come twice.
    start = now.astimezone(UTC)
    for ahead in range(AHEAD_DAYS_MAX + 1):
        for moment in _moments(windows, now.date() + ahead * _DAY, zone):
            after = start < moment <= start + AHEAD_DAYS_MAX * _DAY
            if after and _open(windows, moment, zone) and not _open(windows, moment - _MINUTE, zone):
                return moment.astimezone(zone)
    return None


def _open(windows: Sequence[Window], moment: datetime, zone: tzinfo | None) -> bool:
    return in_window(windows, moment.astimezone(zone))


def _moments(windows: Sequence[Window], day: date, zone: tzinfo | None) -> Iterator[datetime]:
    """The moments (UTC) of a day at which a window could begin, in their order."""
    midnight = datetime.combine(day, time(), zone)
    first, end = midnight.astimezone(UTC), (midnight + _DAY).astimezone(UTC)
    if end - first == _DAY:
        # Nothing sets the clock on this day, so what the wall shows is how long the day has lasted.
        yield from (first + minute * _MINUTE for minute in sorted({window.first_minute for window in windows}))
        return
    while first < end:
        yield first
        first += _MINUTE
