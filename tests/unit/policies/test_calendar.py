"""Calendars: windows and freezes by the clock on the wall, also on the days on which that clock is set."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_policies.calendar import AHEAD_DAYS_MAX, NO_REASON, frozen, in_window, local_time, next_open, zone_of
from interlock_tools.apps import Freeze, Window

BERLIN = "Europe/Berlin"
EVERY_DAY = tuple(range(7))
WEEKDAYS = (0, 1, 2, 3, 4)
OFFICE = Window(WEEKDAYS, 9 * 60, 17 * 60)


def at(text: str, timezone: str = BERLIN) -> datetime:
    """A moment as the wall of that time zone shows it; with an offset (`+02:00`) also where that comes twice."""
    read = datetime.fromisoformat(text)
    return read.astimezone(zone_of(timezone)) if read.tzinfo else read.replace(tzinfo=zone_of(timezone))


def opens(windows: Sequence[Window], now: datetime) -> str:
    found = next_open(windows, now)
    return found.isoformat(timespec="minutes") if found else ""


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


def test_without_windows_every_moment_is_in_one_and_none_ever_begins() -> None:
    now = at("2026-03-07T03:00")
    assert in_window((), now)
    assert next_open((), now) is None


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
    assert next_open(odd, at("2026-03-02T00:00")) is None


# ── when the next one begins ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("now", "begins"),
    [
        ("2026-03-02T08:59:30", "2026-03-02T09:00+01:00"),
        ("2026-03-02T09:00", "2026-03-03T09:00+01:00"),  # it has begun: the next one is tomorrow's
        ("2026-03-02T12:00", "2026-03-03T09:00+01:00"),
        ("2026-03-06T17:00", "2026-03-09T09:00+01:00"),
        ("2026-03-27T18:00", "2026-03-30T09:00+02:00"),  # over the weekend the clock is set forward
        ("2026-10-23T18:00", "2026-10-26T09:00+01:00"),  # and back
    ],
)
def test_the_next_window_begins_at_its_first_minute_by_the_wall(now: str, begins: str) -> None:
    assert opens((OFFICE,), at(now)) == begins


def test_windows_that_touch_are_one_and_what_is_always_open_never_opens() -> None:
    touching = (Window(EVERY_DAY, 540, 720), Window(EVERY_DAY, 720, 1020))
    assert opens(touching, at("2026-03-02T10:00")) == "2026-03-03T09:00+01:00"
    assert next_open((Window(EVERY_DAY, 0, 1440),), at("2026-03-02T10:00")) is None
    assert next_open((Window(EVERY_DAY, 0, 1440),), at("2026-03-28T10:00")) is None


def test_the_earliest_of_several_windows_is_named_whatever_their_order() -> None:
    mixed = (Window((2,), 600, 660), Window((1,), 900, 960), Window((1,), 300, 360))
    assert opens(mixed, at("2026-03-02T12:00")) == "2026-03-03T05:00+01:00"


def test_every_day_of_the_week_comes_within_the_days_that_are_looked_at() -> None:
    for day in EVERY_DAY:
        now = at("2026-03-02T12:00")
        found = next_open((Window((day,), 600, 601),), now)
        assert found is not None
        assert found.weekday() == day
        assert timedelta(0) < found - now <= timedelta(days=AHEAD_DAYS_MAX)


# ── days on which the clock is set ───────────────────────────────────────────────────────────────────────────────────


def test_a_window_that_begins_in_the_skipped_hour_begins_right_after_it() -> None:
    window = (Window((6,), 2 * 60 + 30, 6 * 60),)  # on 29 March 2026 two o'clock is three o'clock
    assert opens(window, at("2026-03-29T01:00")) == "2026-03-29T03:00+02:00"
    assert in_window(window, at("2026-03-29T03:00"))


def test_a_window_that_lies_in_the_skipped_hour_does_not_come_that_day() -> None:
    window = (Window((6,), 2 * 60, 3 * 60),)
    assert opens(window, at("2026-03-29T01:00")) == "2026-04-05T02:00+02:00"


def test_a_window_after_the_skipped_hour_begins_when_the_wall_says_so() -> None:
    assert opens((Window((6,), 9 * 60, 600),), at("2026-03-29T01:00")) == "2026-03-29T09:00+02:00"


def test_an_hour_that_comes_twice_is_in_its_window_twice() -> None:
    window = (Window((6,), 2 * 60 + 30, 3 * 60),)  # on 25 October 2026 three o'clock is two o'clock again
    assert opens(window, at("2026-10-25T01:00")) == "2026-10-25T02:30+02:00"
    assert opens(window, at("2026-10-25T02:59+02:00")) == "2026-10-25T02:30+01:00"
    assert opens(window, at("2026-10-25T02:10+01:00")) == "2026-10-25T02:30+01:00"
    assert opens(window, at("2026-10-25T02:30+01:00")) == "2026-11-01T02:30+01:00"


def test_a_window_that_is_left_by_setting_the_clock_back_is_entered_again() -> None:
    window = (Window((6,), 60, 2 * 60 + 30),)
    assert opens(window, at("2026-10-25T02:45+02:00")) == "2026-10-25T02:00+01:00"


@pytest.mark.parametrize(
    ("timezone", "now", "begins"),
    [
        # midnight itself is skipped, comes twice, or a whole day is left out
        ("America/Sao_Paulo", "2018-11-03T12:00", "2018-11-04T01:00-02:00"),
        ("America/Havana", "2026-10-31T12:00", "2026-11-01T00:00-04:00"),
        ("Pacific/Apia", "2011-12-29T12:00", "2011-12-31T00:00+14:00"),
        ("Australia/Lord_Howe", "2026-10-03T12:00", "2026-10-04T00:00+10:30"),
    ],
)
def test_midnights_that_are_skipped_or_come_twice_are_found(timezone: str, now: str, begins: str) -> None:
    assert opens((Window(EVERY_DAY, 0, 60 * 2),), at(now, timezone)) == begins


ZONES = st.sampled_from([BERLIN, "America/New_York", "America/Havana", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
WINDOWS = st.lists(
    st.builds(
        Window,
        days=st.sets(st.sampled_from(EVERY_DAY)).map(tuple),
        first_minute=st.integers(0, 1439),
        last_minute=st.integers(1, 1440),
    ),
    max_size=3,
)
# Around the days of 2026 on which the clocks of these zones are set, and any other.
MOMENTS = st.sampled_from([1_772_900_000, 1_774_650_000, 1_775_300_000, 1_790_900_000, 1_792_800_000, 1_793_400_000])


@settings(max_examples=25, deadline=None)
@given(WINDOWS, ZONES, MOMENTS, st.integers(0, 2 * 86_400))
def test_what_opens_next_is_what_a_walk_minute_by_minute_finds(
    windows: list[Window], timezone: str, moment: int, later: int
) -> None:
    start = moment + later
    minutes = range(start - start % 60 + 60, start + AHEAD_DAYS_MAX * 86_400 + 1, 60)
    before, found = in_window(windows, local_time(minutes[0] - 60, timezone)), None
    for second in minutes:
        inside = in_window(windows, local_time(second, timezone))
        if inside and not before:
            found = second
            break
        before = inside
    answer = next_open(windows, local_time(start, timezone))
    assert (answer.timestamp() if answer else None) == found


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


@pytest.mark.usefixtures("machine_in_berlin")
def test_the_next_window_by_the_machines_own_clock_is_the_one_of_its_zone() -> None:
    friday = datetime(2026, 3, 27, 17, 0, tzinfo=UTC).timestamp()
    assert opens((OFFICE,), local_time(friday, "")) == "2026-03-30T09:00+02:00"
    summer = datetime(2026, 10, 25, 0, 59, tzinfo=UTC).timestamp()
    assert opens((Window((6,), 150, 180),), local_time(summer, "")) == "2026-10-25T02:30+01:00"
