"""The settings of listening: who answered, when quiet is noticed, and whom to ask about verdicts that are not sure.

What is done about who answered is each account's (orchestrator.detection). Knows no other settings.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError

from orchestrator.settings_fields import Section, number, setting


class Listening(Section):
    """Who answered: callees are listened to in calls whose policy asks for it; on LiveKit by child processes.

    Times hold for calls whose policy says nothing else; 0: never.
    """

    enabled: bool = setting(True, "Listen at all. false: no call has a verdict, whatever its policy.")
    most_children: int = number(8, 1, 64, "Most child processes that listen; each takes 60 to 150 MB.")
    rooms_a_child: int = number(20, 1, 200, "Most rooms that one child process listens in.")
    beat_s: float = number(1.0, 0.1, 10, "Between a child's signs of life; after eight that are missing it is replaced.")
    silence_warning_s: float = number(
        0.0,
        0,
        86_400,
        "The callee has been silent for so long: the agent is told. 0: half of the time after which the call is ended.",
        reloadable=True,
    )
    silence_s: float = number(0.0, 0, 86_400, "The callee has been silent for so long: the call is ended.", reloadable=True)
    idle_s: float = number(
        0.0, 0, 86_400, "Neither callee nor agent has been heard for so long: the call is ended.", reloadable=True
    )
    media_lost_s: float = number(
        0.0, 0, 86_400, "No audio packets came from the callee for so long: the call is ended.", reloadable=True
    )


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc):
        raise PydanticCustomError("not_an_endpoint", "must be the URL of a chat endpoint")
    return value


class SecondOpinion(Section):
    """A language model that is asked about a callee's words where detection is not sure. Off while url is empty.

    Words of callees are sent to it, from calls with a transcript only. What it says never hangs up on anybody.
    """

    url: Annotated[str, AfterValidator(_endpoint)] = setting(
        "", "Base of an OpenAI-compatible chat endpoint.", allowed="empty or like https://host/v1"
    )
    model: str = setting("", "The model to ask.", max_length=200)
    api_key: SecretStr = setting(SecretStr(""), "Its key, if it wants one; best given by the environment.")
    timeout_s: float = number(2.0, 0.1, 10, "How long its answer may take; then the verdict stands as it is.")
