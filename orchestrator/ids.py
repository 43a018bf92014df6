"""Small types with a meaning, used everywhere instead of bare numbers and strings."""

from __future__ import annotations

from typing import NewType
from uuid import UUID

from sip.leg import E164

CallId = NewType("CallId", int)
AccountId = NewType("AccountId", int)
TrunkId = NewType("TrunkId", int)
DialId = NewType("DialId", int)
WorkerId = NewType("WorkerId", UUID)
"""One start of one worker process, whatever its name."""

__all__ = ["E164", "AccountId", "CallId", "DialId", "TrunkId", "WorkerId"]
