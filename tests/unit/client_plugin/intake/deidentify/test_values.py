from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_plugin.intake.deidentify import values


@given(
    st.dates(date(1930, 1, 1), date(2099, 1, 1)), st.dates(date(1930, 1, 1), date(2099, 1, 1)), st.integers(-4000, -1)
)
def test_intervals_are_kept_exactly(first: date, second: date, days: int) -> None:
    def moved(day: date) -> date:
        new = values.shift_date(day.strftime("%Y%m%d").encode(), days)
        assert new is not None
        return date(int(new[:4]), int(new[4:6]), int(new[6:]))

    assert moved(second) - moved(first) == second - first
    assert moved(first) - first == timedelta(days=days)


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        (b"20240301", b"20240229"),
        (b"2024.03.01", b"20240229"),  # ACR-NEMA
        (b"20240301\\20240302 ", b"20240229\\20240301"),
        (b"2024", None),
        (b"20241301", None),
        (b"MUSTERMANN", None),
    ],
)
def test_dates(value: bytes, moved: bytes | None) -> None:
    assert values.shift_date(value, -1) == moved


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        (b"20240301123015.123456+0100", b"20240229123015.123456+0100"),
        (b"20240301", b"20240229"),
        (b"2024030112", b"2024022912"),
        (b"202403", None),  # no day: it cannot be moved exactly
        (b"20240301 Erika", None),
    ],
)
def test_datetimes(value: bytes, moved: bytes | None) -> None:
    assert values.shift_datetime(value, -1) == moved


@pytest.mark.parametrize(
    ("value", "kept"), [(b"089Y", b"089Y"), (b"090Y", b"090Y"), (b"103Y", b"090Y"), (b"103M", b"103M"), (b"Erik", None)]
)
def test_ages(value: bytes, kept: bytes | None) -> None:
    assert values.limit_age(value) == kept


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (values.is_number, b"-1.5e3\\ 2 ", b"12 Elm St"),
        (values.is_code, b"ORIGINAL\\PRIMARY ", b"Mustermann"),
        (values.is_time, b"123015.25\\12", b"noon"),
        (values.is_charset, b"ISO 2022 IR 87\\ISO_IR 100", b"MUSTERMANN"),
    ],
)
def test_checks(check: object, good: bytes, bad: bytes) -> None:
    assert check(good)  # type: ignore[operator]
    assert not check(bad)  # type: ignore[operator]
