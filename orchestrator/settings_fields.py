"""How a field of the settings is written down: its default, sentence, range, and whether it can change without a restart.

Knows no setting.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


def _split_at_commas(value: object) -> object:
    """Lists are written `a, b` in the environment."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise PydanticCustomError("not_rising", "must be rising")
    return value


_Delay = Annotated[float, Field(ge=0.1, le=86_400)]
DelayPair = Annotated[tuple[_Delay, _Delay], BeforeValidator(_split_at_commas), AfterValidator(_rising)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split_at_commas)]


def setting(default: Any, description: str, *, allowed: str = "", reloadable: bool = False, **bounds: Any) -> Any:
    """One documented field.

    `allowed`: what it takes, in words, where type and bounds do not say it. `reloadable`: a running daemon takes a change over.
    """
    extra: dict[str, Any] = {"reloadable": reloadable} | ({"allowed": allowed} if allowed else {})
    return Field(default, description=description, json_schema_extra=extra, validate_default=True, **bounds)


def number(default: float, least: float, most: float, description: str, *, reloadable: bool = False) -> Any:
    """A number within bounds, both included."""
    return setting(default, description, reloadable=reloadable, ge=least, le=most)


def delay_pair(first_s: float, longest_s: float, description: str) -> Any:
    """First delay and longest, in seconds."""
    allowed = "two numbers from 0.1 to 86400, the smaller first; separated by a comma in the environment"
    return setting((first_s, longest_s), description, allowed=allowed, reloadable=True)


def days(default: int, description: str) -> Any:
    """How many days something is kept; 0: for ever."""
    return setting(default, description, reloadable=True, ge=0, le=36_500)


class Section(BaseModel):
    """What all sections have in common: frozen, nothing unknown, no value in an error's text."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        """`true` is not 1."""
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation in {int, float}:
            raise PydanticCustomError("not_a_number", "must be a number")
        return value
