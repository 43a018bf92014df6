"""Public holidays at the callee's place.

A holiday is one of the whole country, or of a state or province where the number tells it. Of a country that the `holidays`
package does not know, none is known, and nothing is closed: the option can only close days.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date

import holidays


@dataclass(frozen=True, slots=True)
class Holidays:
    """The public holidays at one place."""

    country: str
    """ISO 3166-1 alpha-2; empty: not known, and no holiday is."""
    region: str = ""
    """Like US-TX; empty: the whole country's only."""

    def __contains__(self, day: object) -> bool:
        """Whether a date, by the calendar there, is a public holiday."""
        return day in _of_place(self.country, self.region)


@functools.lru_cache(maxsize=1024)
def _of_place(country: str, region: str) -> holidays.HolidayBase | frozenset[date]:
    """The holidays of a place: the package fills in a year when a day of it is first asked for."""
    try:
        calendar = holidays.country_holidays(country)
    except NotImplementedError:
        return frozenset()
    subdivision = region.partition("-")[2]
    return holidays.country_holidays(country, subdiv=subdivision) if subdivision in calendar.subdivisions else calendar
