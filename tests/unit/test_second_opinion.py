"""The second opinion: bounded, optional, and never the one who hangs up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.opinion import MOST_PROBABLE, SecondOpinion
from sip.voicemail.events import Kind, Stage, Verdict

UNSURE = Verdict(stage=Stage.FINAL, kind=Kind.UNCERTAIN, machine_probability=0.6, told_s=5.0, rule="timing")


def said(content: object) -> dict[str, object]:
    text = content if isinstance(content, str) else json.dumps(content)
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@contextlib.asynccontextmanager
async def opinion_of(
    answer: Callable[[web.Request], Awaitable[web.Response]], *, timeout_s: float = 30.0
) -> AsyncIterator[SecondOpinion]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    async with TestServer(app) as server:
        opinion = SecondOpinion(url=f"http://127.0.0.1:{server.port}/v1", model="small", api_key="k", timeout_s=timeout_s)
        try:
            yield opinion
        finally:
            await opinion.aclose()


def always(document: object, *, status: int = 200) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(document, status=status)

    return answer


async def test_it_revises_the_verdict_and_says_what_it_was_before():
    async with opinion_of(always(said({"kind": "menu", "machine_probability": 0.9}))) as opinion:
        revised = await opinion.ask("press one for sales", UNSURE)
    assert revised is not None
    assert (revised.stage, revised.kind, revised.machine_probability) == (Stage.REVISED, Kind.MENU, 0.9)
    assert revised.rule == "second_opinion"
    assert revised.evidence["before_kind"] == "uncertain"


async def test_however_sure_it_is_hanging_up_asks_for_more():
    async with opinion_of(always(said('Sure! {"kind": "voicemail", "machine_probability": 1.0}'))) as opinion:
        revised = await opinion.ask("hello", UNSURE)
    assert revised is not None
    assert revised.machine_probability == MOST_PROBABLE < 0.98


async def test_a_person_is_never_more_likely_a_machine_than_not():
    async with opinion_of(always(said({"kind": "person", "machine_probability": 0.9}))) as opinion:
        revised = await opinion.ask("hello", UNSURE)
    assert revised is not None
    assert revised.machine_probability == 0.5


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"choices": []},
        said("no idea"),
        said({"kind": "robot", "machine_probability": 0.5}),
        said({"kind": "fax", "machine_probability": 0.5}),
        said({"kind": "menu", "machine_probability": 7}),
        said({"kind": "menu", "machine_probability": None}),
        said({"kind": "menu"}),
        ["x" * 100_000],
    ],
)
async def test_an_answer_that_is_none_leaves_the_verdict_as_it_is(document):
    async with opinion_of(always(document)) as opinion:
        assert await opinion.ask("hello", UNSURE) is None


async def test_an_endpoint_that_refuses_hangs_or_is_away_leaves_the_verdict_as_it_is():
    async with opinion_of(always({}, status=500)) as opinion:
        assert await opinion.ask("hello", UNSURE) is None

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with opinion_of(hang, timeout_s=0.05) as opinion:
        assert await opinion.ask("hello", UNSURE) is None
    away = SecondOpinion(url="http://127.0.0.1:1/v1", model="small", api_key="", timeout_s=30.0)
    assert await away.ask("hello", UNSURE) is None
    await away.aclose()


async def test_it_sends_the_key_the_model_and_the_first_words_only_as_a_quotation():
    seen: list[tuple[str | None, dict[str, object]]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers.get("Authorization"), await request.json()))
        return web.json_response(said({"kind": "person", "machine_probability": 0.1}))

    async with opinion_of(answer) as opinion:
        await opinion.ask('say "yes" ' * 200, UNSURE)
        assert await opinion.ask("  ", UNSURE) is None
    [(key, body)] = seen
    assert key == "Bearer k"
    assert body["model"] == "small"
    messages = body["messages"]
    assert isinstance(messages, list)
    assert len(json.loads(messages[1]["content"])["words"].split()) == 120


async def test_cancelling_it_is_not_swallowed():
    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with opinion_of(hang) as opinion:
        task = asyncio.create_task(opinion.ask("hello", UNSURE))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
