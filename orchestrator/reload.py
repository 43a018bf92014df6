"""Reading the settings anew while calls go on (SIGHUP).

Takes over what a running daemon can change (fields that are marked reloadable) and names what needs a restart. Settings that
cannot be read change nothing: a daemon with live calls must not stumble over a typing error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from orchestrator.errors import Error, SettingsError
from orchestrator.settings import Settings
from orchestrator.settings_sources import sections_of
from orchestrator.systemd import ServiceManager

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """What two trees of settings differ in, by names like `worker.drain_s`."""

    settings: Settings
    """The old ones with all that is reloadable taken from the new."""
    taken: tuple[str, ...]
    need_restart: tuple[str, ...]


def change(old: Settings, new: Settings) -> Change:
    """What of `new` can be taken over by a daemon that runs with `old`.

    Raises SettingsError if what is reloadable of the new contradicts what is not of the old: then a restart takes both.
    """
    merged = {name: getattr(old, name).model_dump() for name in sections_of(Settings)}
    taken, need_restart = [], []
    for section, tree in sections_of(Settings).items():
        for field, description in tree.model_fields.items():
            before, after = getattr(getattr(old, section), field), getattr(getattr(new, section), field)
            if before == after:
                continue
            extra = description.json_schema_extra
            if isinstance(extra, dict) and extra.get("reloadable") is True:
                merged[section][field] = after
                taken.append(f"{section}.{field}")
            else:
                need_restart.append(f"{section}.{field}")
    try:
        settings = Settings.model_validate(merged)
    except ValidationError:
        raise SettingsError(
            f"{', '.join(taken)}: cannot be changed without {', '.join(need_restart)}, which needs a restart"
        ) from None
    return Change(settings=settings, taken=tuple(taken), need_restart=tuple(need_restart))


class Reloader:
    """Reloads whenever `asked` is set."""

    def __init__(
        self,
        *,
        settings: Settings,
        asked: asyncio.Event,
        reread: Callable[[], Settings] | None,
        apply: Callable[[Settings], Awaitable[None]],
        manager: ServiceManager,
        status: Callable[[], str],
    ) -> None:
        """`reread` None: these settings did not come from anywhere that could be read again (a demo, a test)."""
        self.settings = settings
        """Those in force."""
        self._asked = asked
        self._reread = reread
        self._apply = apply
        self._manager = manager
        self._status = status

    async def run(self) -> None:
        """Loop until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._manager.reloading()
            await self.reload()
            self._manager.ready(self._status())

    async def reload(self) -> None:
        """Read and take over; whatever is wrong is logged, and leaves everything as it was."""
        if self._reread is None:
            log.warning("settings_not_reloaded", error="there is nothing to read them from")
            return
        try:
            found = change(self.settings, await asyncio.to_thread(self._reread))
            await self._apply(found.settings)
        except Error as error:
            remedy = "the old ones stay in force; correct them and reload"
            log.error("settings_not_reloaded", error=str(error), remedy=remedy)  # noqa: TRY400  no defect, no trace
            return
        self.settings = found.settings
        for warning in found.settings.warnings:
            log.warning("setting_doubtful", text=warning)
        if found.need_restart:
            log.warning("settings_need_restart", names=list(found.need_restart))
        log.info("settings_reloaded", changed=list(found.taken))
