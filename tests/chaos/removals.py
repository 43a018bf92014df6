"""Protections that are steps of the program, each taken out of a worker's process (worker.py, --without)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.calls.adoption import Adoption
from orchestrator.calls.conductor import Conductor
from orchestrator.calls.preparation import Preparation
from orchestrator.calls.sweeper import Sweeper
from sip.livekit.api import LiveKitServer
from sip.livekit.failures import DialFailure


def _age_of_the_intent() -> None:
    build: Any = Preparation.__init__

    def build_patient(self: Preparation, **keywords: Any) -> None:
        call = keywords["call"]
        keywords["times"] = replace(keywords["times"], intent_max_age_real_s=1e6)
        keywords["call"] = replace(call, trunk=replace(call.trunk, dial_slack_ms=10**9))
        build(self, **keywords)

    _put(Preparation, "__init__", build_patient)


def _fence() -> None:
    build: Any = Adoption.__init__

    class Unfenced:
        """A carrier that deletes no room."""

        def __init__(self, carrier: Any) -> None:
            self._carrier = carrier

        def __getattr__(self, name: str) -> Any:
            return getattr(self._carrier, name)

        async def close_room(self, _name: str) -> None:
            """Not."""

    def build_unfenced(self: Adoption, **keywords: Any) -> None:
        build(self, **keywords | {"carrier": Unfenced(keywords["carrier"])})

    _put(Adoption, "__init__", build_unfenced)


def _one_request_for_a_dial() -> None:
    dial = LiveKitServer.dial

    async def dial_again(self: LiveKitServer, request: Any, **keywords: Any) -> Any:
        answer = await dial(self, request, **keywords)
        if isinstance(answer, DialFailure) and not answer.over:
            answer = await dial(self, request, **keywords | {"may_leave": lambda: True})
        return answer

    _put(LiveKitServer, "dial", dial_again)


def _closing_of_rooms() -> None:
    async def nothing(_self: object) -> None:
        pass

    _put(Conductor, "_close_room", nothing)
    _put(Sweeper, "_sweep", nothing)


REMOVALS: dict[str, Callable[[], None]] = {
    "age of the intent": _age_of_the_intent,
    "the fence": _fence,
    "one request for a dial": _one_request_for_a_dial,
    "closing of rooms": _closing_of_rooms,
}


def take_out_of_the_program(name: str) -> None:
    """Take one protection out of this process."""
    REMOVALS[name]()


def _put(owner: type, name: str, instead: object) -> None:
    if name not in vars(owner):
        raise AssertionError(f"{owner.__name__} has no {name} any more: the protection has moved")
    setattr(owner, name, instead)
