from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from client_plugin.config import PullConfig, Window
from client_plugin.dicom.pull.schedule import (
    Again,
    Done,
    GiveUp,
    backoff,
    decide,
    is_open,
    may_start_at,
    next_opening,
)
from client_plugin.dicom.pull.source import FINAL, PullReason

NIGHT = Window.model_validate("22:00-06:00")
LUNCH = Window.model_validate("12:00-13:00")
BERLIN = ZoneInfo("Europe/Berlin")


def at(hour: int, minute: int = 0, day: int = 10) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("moment", "open_"),
    [(at(21, 59), False), (at(22), True), (at(0), True), (at(5, 59), True), (at(6), False), (at(12, 30), True)],
)
def test_nights_and_lunch(moment: datetime, open_: bool) -> None:
    assert is_open((NIGHT, LUNCH), moment) is open_


def test_without_windows_it_is_always_open() -> None:
    assert is_open((), at(12))
    assert next_opening((), at(12)) == at(12)


@pytest.mark.parametrize(("now", "opening"), [(at(8), at(12)), (at(13), at(22)), (at(23), at(23)), (at(6), at(12))])
def test_the_next_opening(now: datetime, opening: datetime) -> None:
    assert next_opening((NIGHT, LUNCH), now) == opening


def test_the_next_opening_may_be_tomorrow() -> None:
    assert next_opening((LUNCH,), at(13, 30)) == at(12, day=11)


@given(st.integers(0, 365 * 24 * 60))
def test_it_is_open_at_the_next_opening(minutes: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=BERLIN) + timedelta(minutes=minutes)
    opening = next_opening((NIGHT, LUNCH), now)
    assert opening >= now
    assert is_open((NIGHT, LUNCH), opening)


@pytest.mark.parametrize("text", ["22:00", "25:00-06:00", "nights"])
def test_a_window_that_is_none(text: str) -> None:
    with pytest.raises(ValidationError):
        PullConfig.model_validate({"windows": [text]})


def test_an_unknown_time_zone_and_a_missing_url_are_errors() -> None:
    with pytest.raises(ValidationError, match="Europe/Berlin"):
        PullConfig(time_zone="Berlin")
    with pytest.raises(ValidationError, match="dicomweb_url"):
        PullConfig(method="dicomweb")


def test_a_rate_is_a_time_between_two_starts() -> None:
    thirty = PullConfig(studies_per_hour=30)
    assert may_start_at(at(8), 500, thirty) == at(8, 2)
    assert may_start_at(None, None, thirty) is None
    assert may_start_at(at(8), 500, PullConfig()) is None


def test_a_large_study_makes_the_next_one_wait() -> None:
    both = PullConfig(instances_per_hour=1000, studies_per_hour=60)
    assert may_start_at(at(8), 500, both) == at(8, 30)
    assert may_start_at(at(8), 1, both) == at(8, 1)
    assert may_start_at(at(8), None, both) == at(8, 1)


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_the_backoff_stays_between_half_and_all_of_its_size(tries: int, draw: float) -> None:
    full = min(3600.0, 30.0 * 2 ** min(tries - 1, 60))
    assert full / 2 <= backoff(tries, 30, 3600, draw).total_seconds() <= full


def test_the_backoff_grows() -> None:
    waits = [backoff(tries, 30, 3600, 0.5) for tries in range(1, 8)]
    assert all(one < other for one, other in pairwise(waits))


CONFIG = PullConfig(max_tries=3, retry_seconds=10)


def test_all_here_is_done_whatever_went_wrong_at_the_end() -> None:
    assert decide(problem=None, missing=0, tries=1, config=CONFIG, draw=0) == Done()
    assert decide(problem=PullReason.LOST, missing=0, tries=3, config=CONFIG, draw=0) == Done()


def test_a_source_that_says_success_and_sends_nothing_is_not_believed() -> None:
    again = decide(problem=None, missing=2, tries=1, config=CONFIG, draw=0)
    assert again == Again(PullReason.INCOMPLETE, timedelta(seconds=10))
    assert decide(problem=None, missing=2, tries=3, config=CONFIG, draw=0) == GiveUp(PullReason.INCOMPLETE)


@pytest.mark.parametrize("reason", sorted(FINAL))
def test_what_another_try_would_not_change_is_given_up_at_once(reason: PullReason) -> None:
    assert decide(problem=reason, missing=None, tries=1, config=CONFIG, draw=0) == GiveUp(reason)


@pytest.mark.parametrize("reason", sorted(set(PullReason) - FINAL))
def test_the_rest_is_tried_again_and_ends_with_the_last_reason(reason: PullReason) -> None:
    assert decide(problem=reason, missing=None, tries=2, config=CONFIG, draw=0) == Again(reason, timedelta(seconds=20))
    assert decide(problem=reason, missing=5, tries=3, config=CONFIG, draw=0) == GiveUp(reason)
