"""Public holidays at the callee's place."""

from __future__ import annotations

from datetime import date

import pytest

from orchestrator.scheduling.holidays import Holidays


@pytest.mark.parametrize(
    ("country", "region", "day", "is_holiday"),
    [
        ("US", "", date(2026, 11, 26), True),
        ("US", "", date(2026, 11, 25), False),
        ("US", "", date(2026, 4, 20), False),
        ("US", "US-MA", date(2026, 4, 20), True),  # Patriots' Day
        ("US", "US-MA", date(2026, 11, 26), True),
        ("CA", "CA-QC", date(2026, 6, 24), True),
        ("CA", "CA-ON", date(2026, 6, 24), False),
        ("DE", "", date(2027, 10, 3), True),
        ("GB", "", date(2026, 12, 25), True),
        ("JP", "", date(2031, 1, 1), True),
    ],
)
def test_a_day_is_a_holiday_of_the_country_or_the_region(country: str, region: str, day: date, is_holiday: bool):
    assert (day in Holidays(country=country, region=region)) is is_holiday


def test_of_a_country_that_nobody_wrote_down_no_holiday_is_known():
    assert date(2026, 12, 25) not in Holidays(country="AC")
    assert date(2026, 12, 25) not in Holidays(country="")
    assert date(2026, 12, 25) in Holidays(country="US", region="US-ZZ")
