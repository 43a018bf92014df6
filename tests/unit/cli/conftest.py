from __future__ import annotations

from tests.unit.cli.logging_state import logging_as_it_was

__all__ = ["logging_as_it_was"]
