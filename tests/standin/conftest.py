from __future__ import annotations

from tests.fixtures.livekit import example_agent, real_livekit, stand_in

__all__ = ["example_agent", "real_livekit", "stand_in"]
