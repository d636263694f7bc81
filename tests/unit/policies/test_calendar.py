"""Calendars: windows and freezes by the clock on the wall, also on the days on which that clock is set."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from interlock_policies.calendar import NO_REASON, frozen, in_window, local_time, zone_of
from interlock_tools.apps import Freeze, Window

BERLIN = "Europe/Berlin"
EVERY_DAY = tuple(range(7))
WEEKDAYS = (0, 1, 2, 3, 4)
OFFICE = Window(WEEKDAYS, 9 * 60, 17 * 60)


def at(text: str, timezone: str = BERLIN) -> datetime:
    """A moment as the wall of that time zone shows it; with an offset (`+02:00`) also where that comes twice."""
    read = datetime.fromisoformat(text)
    return read.astimezone(zone_of(timezone)) if read.tzinfo else read.replace(tzinfo=zone_of(timezone))


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-03-02T08:59:59", False),  # a Monday
        ("2026-03-02T09:00", True),
        ("2026-03-02T16:59:59", True),
        ("2026-03-02T17:00", False),
        ("2026-03-06T12:00", True),
        ("2026-03-07T12:00", False),
        ("2026-03-08T12:00", False),
    ],
)
def test_a_window_holds_from_its_first_minute_to_before_its_last_on_its_days(moment: str, inside: bool) -> None:
    assert in_window((OFFICE,), at(moment)) is inside


def test_without_windows_every_moment_is_in_one() -> None:
    assert in_window((), at("2026-03-07T03:00"))


def test_several_windows_hold_each_for_itself_and_a_whole_day_ends_at_midnight() -> None:
    night = (Window((4,), 22 * 60, 24 * 60), Window((5,), 0, 2 * 60))
    assert [in_window(night, at(f"2026-03-0{when}")) for when in ("6T21:59", "6T23:59", "7T00:00", "7T01:59")] == [
        False,
        True,
        True,
        True,
    ]
    assert not in_window(night, at("2026-03-07T02:00"))
    assert not in_window(night, at("2026-03-06T00:30"))


def test_a_window_that_ends_before_it_begins_or_has_no_day_holds_nothing() -> None:
    odd = (Window(EVERY_DAY, 600, 500), Window(EVERY_DAY, 600, 600), Window((), 0, 1440))
    assert not any(in_window(odd, at("2026-03-02T00:00") + timedelta(minutes=minute)) for minute in range(1440))


# ── days on which the clock is set ───────────────────────────────────────────────────────────────────────────────────


def test_a_window_holds_by_the_wall_on_the_days_after_the_clock_was_set() -> None:
    for first in ("2026-03-30T07:00+00:00", "2026-10-26T08:00+00:00"):  # nine o'clock in Berlin on both Mondays
        begins = datetime.fromisoformat(first)
        assert not in_window((OFFICE,), (begins - timedelta(minutes=1)).astimezone(zone_of(BERLIN)))
        assert in_window((OFFICE,), begins.astimezone(zone_of(BERLIN)))


def test_a_window_that_begins_in_the_skipped_hour_begins_right_after_it() -> None:
    window = (Window((6,), 2 * 60 + 30, 6 * 60),)  # on 29 March 2026 two o'clock is three o'clock
    assert not in_window(window, at("2026-03-29T01:59"))
    assert in_window(window, at("2026-03-29T03:00"))


def test_a_window_that_lies_in_the_skipped_hour_does_not_come_that_day() -> None:
    window = (Window((6,), 2 * 60, 3 * 60),)
    midnight = datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp()
    day = [in_window(window, local_time(midnight + 60 * minute, BERLIN)) for minute in range(23 * 60)]
    assert not any(day)
    assert in_window(window, at("2026-04-05T02:00"))


def test_an_hour_that_comes_twice_is_in_its_window_twice() -> None:
    window = (Window((6,), 2 * 60 + 30, 3 * 60),)  # on 25 October 2026 three o'clock is two o'clock again
    for offset in ("+02:00", "+01:00"):
        assert [in_window(window, at(f"2026-10-25T{when}{offset}")) for when in ("02:29", "02:30", "02:59")] == [
            False,
            True,
            True,
        ]
    assert not in_window(window, at("2026-10-25T03:00+01:00"))


def test_a_window_that_is_left_by_setting_the_clock_back_is_entered_again() -> None:
    window = (Window((6,), 60, 2 * 60 + 30),)
    assert not in_window(window, at("2026-10-25T02:45+02:00"))
    assert in_window(window, at("2026-10-25T02:00+01:00"))


@pytest.mark.parametrize(
    ("timezone", "begins"),
    [
        # midnight itself is skipped, comes twice, or a whole day is left out
        ("America/Sao_Paulo", "2018-11-04T01:00-02:00"),
        ("America/Havana", "2026-11-01T00:00-04:00"),
        ("Pacific/Apia", "2011-12-31T00:00+14:00"),
        ("Australia/Lord_Howe", "2026-10-04T00:00+10:30"),
    ],
)
def test_a_window_begins_at_a_midnight_that_is_skipped_or_comes_twice(timezone: str, begins: str) -> None:
    window, first = (Window(EVERY_DAY, 0, 60 * 2),), datetime.fromisoformat(begins).timestamp()
    assert [in_window(window, local_time(first + seconds, timezone)) for seconds in (-60, 0)] == [False, True]


# ── freezes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        ("2026-12-19T23:59:59", ""),
        ("2026-12-20T00:00", "Christmas"),
        ("2027-01-03T23:59:59", "Christmas"),
        ("2027-01-04T00:00", ""),
    ],
)
def test_a_freeze_holds_on_both_of_its_days_and_between_them(moment: str, reason: str) -> None:
    assert frozen((Freeze("2026-12-20", "2027-01-03", "Christmas"),), at(moment)) == reason


def test_a_freeze_without_a_reason_is_still_one_and_the_first_in_force_is_named() -> None:
    now = at("2026-06-01T12:00")
    assert frozen((), now) == ""
    assert frozen((Freeze("2026-06-01", "2026-06-01"),), now) == NO_REASON
    spans = (Freeze("2026-05-01", "2026-05-31", "May"), Freeze("2026-06-01", "2026-06-30", "June"))
    assert frozen((*spans, Freeze("2026-01-01", "2026-12-31", "all year")), now) == "June"


def test_a_freeze_begins_at_midnight_of_the_apps_time_zone() -> None:
    freeze = (Freeze("2026-06-02", "2026-06-02", "audit"),)
    evening = datetime(2026, 6, 1, 22, 30, tzinfo=UTC).timestamp()
    assert frozen(freeze, local_time(evening, BERLIN)) == "audit"
    assert frozen(freeze, local_time(evening, "UTC")) == ""


# ── time zones ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_moment_is_another_hour_in_another_zone() -> None:
    moment = datetime(2026, 7, 1, 7, 30, tzinfo=UTC).timestamp()
    assert [local_time(moment, zone).hour for zone in (BERLIN, "UTC", "Asia/Tokyo")] == [9, 7, 16]


@pytest.mark.parametrize("name", ["No/Where", "America", "../etc/passwd", "/etc/localtime", "x\0y", "é" * 3000])
def test_a_time_zone_that_is_none_is_named_with_what_to_write(name: str) -> None:
    with pytest.raises(ValueError, match=r"knows no time zone .*Europe/Berlin"):
        local_time(0.0, name)


@pytest.fixture
def machine_in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", BERLIN)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
    assert os.environ.get("TZ") != BERLIN


@pytest.mark.usefixtures("machine_in_berlin")
def test_the_machines_own_zone_knows_its_changes_of_the_clock() -> None:
    # From half a day before each change to half a day after it, in steps that meet both sides of it.
    for change in ("2026-03-29T01:00+00:00", "2026-10-25T01:00+00:00"):
        middle = int(datetime.fromisoformat(change).timestamp())
        for second in range(middle - 43_200, middle + 43_200, 900):
            own, named = local_time(second, ""), local_time(second, BERLIN)
            assert own.timestamp() == second
            assert (own.isoformat(), own.fold) == (named.isoformat(), named.fold)
            assert own.tzname() == named.tzname()
