"""Where settings come from: a TOML file, and environment variables over it.

Works on any tree of two levels (sections of fields) and checks no values; it remembers what set each of them, for messages.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator.errors import SettingsError

Key = tuple[str, str]
"""(section, field)."""


def sections_of(tree: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The sections of a tree by name."""
    return {name: field.annotation for name, field in tree.model_fields.items() if isinstance(field.annotation, type)}


class Given:
    """What file and environment say, and which of them said what."""

    def __init__(self, *, tree: type[BaseModel], file: Path | None, environ: Mapping[str, str], prefix: str) -> None:
        """Variables are named `prefix`, section, `__`, field, in capitals. Raises SettingsError if the file cannot be read."""
        self.values = _read(file) if file else {}
        """By section and field, as given."""
        self._file = file
        self._environ = environ
        self._prefix = prefix
        self._variables: dict[Key, str] = {}
        self._names = {
            f"{prefix}{name}__{field}".upper(): (name, field)
            for name, section in sections_of(tree).items()
            for field in section.model_fields
        }
        for name in environ:
            if name in self._names:
                self._take(name, self._names[name])

    def fall_back(self, key: Key, name: str) -> None:
        """Take the environment variable `name` for a field that nothing else has set."""
        if self._environ.get(name) and self.value(key) is None:
            self._take(name, key)

    def place(self, key: Key) -> str:
        """What has set the field, or the place where it could be set."""
        if key in self._variables:
            return f"environment variable {self._variables[key]}"
        return str(self._file) if self._file else "settings"

    def value(self, key: Key) -> Any:
        """What was given for the field; None if nothing was."""
        section = self.values.get(key[0])
        return section.get(key[1]) if isinstance(section, dict) else None

    def unknown_variables(self) -> Iterator[str]:
        """One sentence for each variable that looks like ours and sets nothing."""
        bare = {self._bare(name): name for name in self._names}
        for name in self._environ:
            if not name.startswith(self._prefix) or name in self._names:
                continue
            near = difflib.get_close_matches(self._bare(name), list(bare), n=1, cutoff=0.8)
            if near:
                yield f"environment variable {name}: unknown setting; did you mean {bare[near[0]]}?"
            elif "__" in name:
                # Without `__` it is somebody else's: Kubernetes sets ORCHESTRATOR_PORT beside a service called orchestrator.
                yield f"environment variable {name}: unknown setting (settings are named {self._prefix}SECTION__KEY)"

    def _bare(self, name: str) -> str:
        return name.removeprefix(self._prefix).replace("__", "_")

    def _take(self, name: str, key: Key) -> None:
        section = self.values.setdefault(key[0], {})
        if isinstance(section, dict):  # else the file is wrong there, and will be told so
            section[key[1]] = self._environ[name]
            self._variables[key] = name


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: is not UTF-8 text (at byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: is not TOML: {error}") from None
