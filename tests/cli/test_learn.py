"""`orchestrator trunks learn`: what it says without a history, and what it draws and proposes with one."""

from __future__ import annotations

import random

from orchestrator.cli import learn
from orchestrator.learning import propose
from orchestrator.store.trunk_history import PastDial

PNG = b"\x89PNG"


def test_without_a_history_nothing_is_proposed_or_changed(office):
    said = office("trunks", "learn", "main")
    assert said.code == 0
    assert "no proposal" in said.out
    assert office("trunks", "learn", "main", "--apply", "--json").document["applied"] is False
    assert office("trunks", "learn", "nowhere").code == 4


def test_the_picture_is_drawn_with_and_without_a_history(office, tmp_path):
    empty = tmp_path / "empty.png"
    assert office("trunks", "learn", "main", "--plot", str(empty)).code == 0
    assert empty.read_bytes().startswith(PNG)
    drawn = random.Random(1)
    dials = [PastDial(480, round(drawn.gauss(5500, 600)), 30_000, True) for _ in range(150)]
    dials += [PastDial(480, round(drawn.uniform(9000, 27_000)), 30_000, drawn.choice((False, None))) for _ in range(120)]
    full = tmp_path / "full.png"
    learn.draw(full, title="trunk main", dials=dials, proposals=propose(dials))
    assert full.read_bytes().startswith(PNG)


def test_a_picture_that_cannot_be_written_is_named(office):
    said = office("trunks", "learn", "main", "--plot", "/nowhere/at/all.png")
    assert said.code == 2
    assert "/nowhere/at/all.png" in said.err


def test_a_proposal_that_is_applied_becomes_the_trunks_rule(office, monkeypatch):
    dials = [PastDial(480, 4000 + 20 * n, 30_000, True) for n in range(100)]

    async def history(self: object, trunk: str, *, days: int) -> list[PastDial]:
        return dials

    monkeypatch.setattr("orchestrator.store.trunk_history.TrunkHistoryStore.dials", history)
    proposed = office("trunks", "learn", "main")
    assert "--min-ring 3.6 --max-ring 6.4" in proposed.out
    assert office("trunks", "show", "main", "--json").document["max_ring_s"] == 18.0
    assert "taken over" in office("trunks", "learn", "main", "--apply").out
    shown = office("trunks", "show", "main", "--json").document
    assert (shown["min_ring_s"], shown["max_ring_s"], shown["preconnect_voicemail_codes"]) == (3.6, 6.4, [480])
