"""SIGHUP takes over what a running daemon can change, names the rest, and stumbles over nothing."""

from __future__ import annotations

import asyncio

import structlog

from orchestrator.errors import SettingsError
from orchestrator.reload import Reloader, change
from orchestrator.settings import Settings
from orchestrator.systemd import ServiceManager


def settings(**sections: dict[str, object]) -> Settings:
    return Settings.model_validate(sections)


def test_what_is_reloadable_is_taken_and_the_rest_is_named():
    new = settings(worker={"drain_s": 5, "max_calls": 7, "lease_s": 60}, log={"level": "debug"}, http={"port": 1})
    found = change(Settings(), new)
    assert set(found.taken) == {"worker.drain_s", "worker.max_calls", "log.level"}
    assert set(found.need_restart) == {"worker.lease_s", "http.port"}
    assert (found.settings.worker.drain_s, found.settings.worker.lease_s, found.settings.http.port) == (5, 30.0, 8080)


def test_nothing_changed_is_nothing_taken():
    found = change(Settings(), Settings())
    assert (found.taken, found.need_restart, found.settings) == ((), (), Settings())


def test_secrets_survive_a_reload():
    old = settings(database={"url": "postgresql://u:secret@h/d"})
    found = change(old, settings(database={"url": "postgresql://u:secret@h/d"}, worker={"drain_s": 1}))
    assert found.settings.database.url.get_secret_value() == "postgresql://u:secret@h/d"


class Desk:
    """A reloader, what it took over, and what it said."""

    def __init__(self, *, reread) -> None:
        self.applied: list[Settings] = []
        self.reloader = Reloader(
            settings=Settings(),
            asked=asyncio.Event(),
            reread=reread,
            apply=self._apply,
            manager=ServiceManager(),
            status=lambda: "",
        )

    async def _apply(self, new: Settings) -> None:
        self.applied.append(new)

    async def reload(self) -> list[dict[str, object]]:
        with structlog.testing.capture_logs() as said:
            await self.reloader.reload()
        return said


async def test_a_file_that_cannot_be_read_keeps_the_old_settings_and_says_why():
    def broken() -> Settings:
        raise SettingsError("o.toml: worker.drain_s = -1: must be a number from 0 to 86400")

    desk = Desk(reread=broken)
    (said,) = await desk.reload()
    assert (said["event"], said["log_level"]) == ("settings_not_reloaded", "error")
    assert "worker.drain_s = -1" in str(said["error"])
    assert desk.applied == []
    assert desk.reloader.settings == Settings()


async def test_what_was_taken_over_and_what_needs_a_restart_is_said_by_name_and_never_by_value():
    desk = Desk(reread=lambda: settings(worker={"drain_s": 5}, livekit={"api_secret": "hush"}, log={"mask_numbers": False}))
    said = await desk.reload()
    by_event = {line["event"]: line for line in said}
    assert by_event["settings_need_restart"]["names"] == ["livekit.api_secret"]
    assert set(by_event["settings_reloaded"]["changed"]) == {"worker.drain_s", "log.mask_numbers"}
    assert "log.mask_numbers is false" in str(by_event["setting_doubtful"]["text"])
    assert "hush" not in str(said)
    assert desk.reloader.settings.worker.drain_s == 5
    assert len(desk.applied) == 1


async def test_without_anything_to_read_from_it_says_so():
    (said,) = await Desk(reread=None).reload()
    assert said["event"] == "settings_not_reloaded"


def test_values_that_must_fit_together_are_taken_together():
    old = settings(calls={"ring_timeout_s": 60})
    new = settings(calls={"ring_timeout_s": 30}, livekit={"post_dial_allowance_s": 40})  # 60 and 40 would be refused
    found = change(old, new).settings
    assert (found.calls.ring_timeout_s, found.livekit.post_dial_allowance_s) == (30, 40)
