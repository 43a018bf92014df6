"""Placing due calls: which window each gets, and what is held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.ids import CallId
from orchestrator.scheduling.placer import WindowPlacer
from orchestrator.scheduling.windows import NEVER_CLOSED
from orchestrator.scheduling.zones import Whereabouts, whereabouts
from orchestrator.store.placements import DueCall, Placement

NEW_YORK = "+12125550142"
FREEPHONE = "+18005550199"
SATELLITE = "+882123456789"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOON = at("2026-01-21 12:00")  # a Wednesday, 07:00 in New York


def due(to: str = NEW_YORK, *hours: str, **fields: Any) -> DueCall:
    given: dict[str, Any] = {
        "call_id": CallId(1),
        "to": to,
        "run_at": NOON,
        "expires_at": NOON + timedelta(days=1),
        "calling_hours": hours,
        "own_hours": None,
        "closed_on_holidays": False,
        "dial_unknown_zone": False,
        "country": "US",
        "account_version": 7,
        "placement": None,
        "has_route": True,
        "asked_at": NOON,
    }
    return DueCall(**given | fields)


def place(call: DueCall) -> Placement:
    (placement,) = WindowPlacer().place([call])
    assert placement.call_id == call.call_id
    assert placement.hours_version == call.account_version
    return placement


def window(call: DueCall) -> tuple[str, str]:
    placement = place(call)
    assert placement.window_from is not None
    assert placement.window_until is not None
    return f"{placement.window_from:%m-%d %H:%M}", f"{placement.window_until:%m-%d %H:%M}"


def is_held(call: DueCall) -> Placement:
    placement = place(call)
    assert (placement.window_from, placement.window_until) == (None, None)
    return placement


def test_the_default_is_8_to_21_by_the_callees_clock():
    assert window(due()) == ("01-21 13:00", "01-22 02:00")
    assert place(due()).time_zone == "America/New_York"
    assert window(due("+442079460123")) == ("01-21 08:00", "01-21 21:00")


def test_a_number_that_may_be_anywhere_gets_what_is_open_everywhere():
    placement = place(due(FREEPHONE))
    assert (placement.window_from, placement.window_until) == (at("2026-01-21 18:00"), at("2026-01-22 02:00"))
    assert "Pacific/Honolulu" in placement.time_zone.split(",")


def test_a_number_that_may_be_in_several_regions_keeps_the_hours_of_all():
    rules = ("CA-NS 10:00-20:00", "CA-PE 08:00-18:00")
    assert window(due("+19025550142", *rules)) == ("01-21 14:00", "01-21 22:00")


def test_a_country_a_region_and_a_prefix_have_hours_of_their_own():
    rules = ("09:00-17:00", "US 10:00-16:00", "US-TX 11:00-15:00", "+1212 12:00-13:00")
    assert window(due(NEW_YORK, *rules)) == ("01-21 17:00", "01-21 18:00")
    assert window(due("+19175550142", *rules)) == ("01-21 15:00", "01-21 21:00")
    assert window(due("+17135550142", *rules)) == ("01-21 17:00", "01-21 21:00")
    assert window(due("+442079460123", *rules)) == ("01-21 09:00", "01-21 17:00")


def test_a_calls_own_hours_replace_the_accounts_and_its_own_zone_goes_over_the_numbers():
    assert window(due(NEW_YORK, "09:00-17:00", own_hours=("06:00-07:30",))) == ("01-21 11:00", "01-21 12:30")
    assert window(due(NEW_YORK, "09:00-17:00", own_hours=("zone Europe/Berlin",))) == ("01-21 08:00", "01-21 16:00")
    assert window(due(NEW_YORK, "09:00-17:00", own_hours=())) == ("01-21 14:00", "01-21 22:00")


@pytest.mark.parametrize("number", [NEW_YORK, SATELLITE, "+999123456"])
def test_always_needs_no_zone(number: str):
    placement = place(due(number, "always"))
    assert (placement.window_from, placement.window_until) == (NEVER_CLOSED.opens_at, NEVER_CLOSED.closes_at)


def test_a_number_whose_zone_is_not_known_is_held():
    assert is_held(due(SATELLITE)).problem == ""
    assert is_held(due(SATELLITE, "always", closed_on_holidays=True)).problem == ""
    assert is_held(due(SATELLITE, "always", "sun closed")).problem == ""


def test_an_account_that_dials_unknown_zones_does_so_by_the_clocks_of_its_own_country():
    assert window(due(SATELLITE, dial_unknown_zone=True, country="DE")) == ("01-21 07:00", "01-21 20:00")
    assert window(due(SATELLITE, dial_unknown_zone=True, country="US")) == ("01-21 18:00", "01-22 02:00")
    assert window(due(SATELLITE, dial_unknown_zone=True, country="XK")) == ("01-21 08:00", "01-21 21:00")


def test_a_zone_that_is_given_needs_no_number():
    assert window(due(SATELLITE, "+882 zone Asia/Tokyo"))[0] == "01-21 23:00"


def test_a_holiday_is_one_by_the_callees_own_calendar():
    thanksgiving = at("2026-11-26 20:00")
    assert window(due(NEW_YORK, closed_on_holidays=True, asked_at=thanksgiving)) == ("11-27 13:00", "11-28 02:00")
    assert window(due(NEW_YORK, asked_at=thanksgiving)) == ("11-26 13:00", "11-27 02:00")
    # In Auckland the first and second of January are holidays, and the first begins eleven hours before London's.
    eve = at("2025-12-31 20:00")
    assert window(due("+6493001234", closed_on_holidays=True, asked_at=eve))[0] == "01-02 19:00"
    assert window(due("+442079460123", closed_on_holidays=True, asked_at=eve)) == ("12-31 08:00", "12-31 21:00")


def test_a_regions_own_holiday_closes_it_alone():
    patriots_day = at("2026-04-20 14:00")
    assert window(due("+16175550142", closed_on_holidays=True, asked_at=patriots_day))[0] == "04-21 12:00"
    assert window(due(NEW_YORK, closed_on_holidays=True, asked_at=patriots_day))[0] == "04-20 12:00"


def test_always_with_holidays_closed_is_closed_on_holidays():
    assert window(due(NEW_YORK, "always", closed_on_holidays=True, asked_at=at("2026-11-26 20:00")))[0] == "11-27 05:00"


def test_hours_that_never_open_hold_the_call_and_say_so():
    apart = due("+61491570156", "09:00-10:00")
    assert is_held(apart).problem == "the calling hours never open within 370 days"


@pytest.mark.parametrize("rules", [("25:00-26:00",), ("closed",), ("", "08:00-21:00"), ("zone Mars/Olympus",)])
def test_rules_that_a_hand_wrote_wrongly_hold_the_call_and_no_other(rules: tuple[str, ...]):
    placer = WindowPlacer()
    bad, own, good = placer.place(
        [due(NEW_YORK, *rules), due(own_hours=rules, call_id=CallId(2)), due(call_id=CallId(3), asked_at=NOON)]
    )
    for held in (bad, own):
        assert held.window_from is None
        assert held.problem.startswith("calling hours")
    assert (good.call_id, good.window_from) == (CallId(3), at("2026-01-21 13:00"))


def test_a_placement_that_still_holds_is_kept():
    placement = place(due())
    again = due(placement=placement, asked_at=NOON + timedelta(hours=2))
    assert place(again) is placement
    later = due(placement=placement, asked_at=NOON + timedelta(hours=15))
    assert window(later) == ("01-22 13:00", "01-23 02:00")
    changed = due(NEW_YORK, "always", placement=placement, account_version=8)
    assert place(changed).window_from == NEVER_CLOSED.opens_at


def test_what_is_remembered_is_right_as_the_clock_goes_on_and_when_it_is_set_back():
    placer, fresh = WindowPlacer(), []
    for hour in (0, 1, 13, 14, 15, 40, 3, 30, -30):
        call = due(asked_at=NOON + timedelta(hours=hour))
        fresh.append((placer.place([call]), [place(call)]))
    for remembered, found in fresh:
        assert _ends(remembered) == _ends(found)


def _ends(placements: list[Placement]) -> list[datetime | None]:
    return [placement.window_until for placement in placements]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("orchestrator.scheduling.placer.MOST_REMEMBERED", 3)
    placer = WindowPlacer()
    for minute in range(10):
        placer.place([due(NEW_YORK, f"08:{minute:02}-21:00")])
        assert len(placer._found) <= 3


def test_one_call_that_cannot_be_placed_at_all_holds_up_no_others(monkeypatch: pytest.MonkeyPatch):
    def defect(number: str) -> Whereabouts:
        if number == SATELLITE:
            raise TypeError("a defect of ours")
        return whereabouts(number)

    monkeypatch.setattr("orchestrator.scheduling.placer.whereabouts", defect)
    held, good = WindowPlacer().place([due(SATELLITE), due(call_id=CallId(2))])
    assert (held.window_from, held.problem) == (None, "placing failed: TypeError")
    assert good.window_from is not None
