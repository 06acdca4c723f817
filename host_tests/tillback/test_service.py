"""Parts run side by side, come back when they fail, and end with what they have in hand."""

import asyncio
import contextlib
import os
import signal
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from evtill.core.errors import ConfigError
from tillback import service
from tillback.metrics import Metrics


def test_a_part_that_fails_is_started_again_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(service, "_BACK_OFF_S", (0.0, 0.0))
    starts, down = [], []

    async def fails():
        starts.append(1)
        down.append(dict(supervisor.troubles))
        if len(starts) == 3:
            supervisor.stop()
            return
        raise ValueError("out of order")

    async def goes_on():
        await asyncio.Event().wait()

    supervisor = service.Supervisor({"bad": fails, "good": goes_on})
    asyncio.run(supervisor.run(handle_signals=False))
    assert len(starts) == 3 and supervisor.troubles == {}


def test_a_signal_ends_all_and_what_is_in_hand_is_finished():
    ended = []

    async def part():
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # something to finish
            ended.append("part")

    asyncio.run(service.Supervisor({"one": part}).run())
    assert ended == ["part"]


async def serving(app, use):
    server = service.HttpServer(app, "127.0.0.1", 0)
    task = asyncio.create_task(server.run())
    try:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            return await use(client)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_health_says_what_is_wrong():
    wrong = {}
    metrics = Metrics()
    routes = service.health(metrics, {"database": lambda: wrong.get("database", "")})
    app = service.counted(Starlette(routes=routes), metrics)

    async def ask(client):
        good = await client.get("/healthz")
        wrong["database"] = "disk full"
        return good, await client.get("/healthz"), await client.get("/metrics")

    good, bad, asked = asyncio.run(serving(app, ask))
    assert (good.status_code, good.json()) == (200, {"status": "ok", "database": "ok"})
    assert (bad.status_code, bad.json()) == (503, {"status": "failing", "database": "disk full"})
    assert 'http_requests_total{method="GET",status="503"} 1.0' in asked.text
    assert asked.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_a_request_that_is_under_way_is_answered_before_the_end():
    entered = asyncio.Event()

    async def slow(_):
        entered.set()
        await asyncio.sleep(0.2)
        return PlainTextResponse("whole")

    async def play():
        server = service.HttpServer(Starlette(routes=[Route("/", slow)]), "127.0.0.1", 0)
        task = asyncio.create_task(server.run())
        async with httpx.AsyncClient(trust_env=False) as client:
            asked = asyncio.create_task(client.get(server.url))
            await entered.wait()
            task.cancel()
            answer = await asked
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return answer.text

    assert asyncio.run(play()) == "whole"


def test_where_nobody_can_listen():
    with pytest.raises(ConfigError) as caught:
        service.HttpServer(Starlette(), "256.0.0.1", 1)
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_an_error_at_once():
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(ConfigError, match="in use"):
        service.HttpServer(Starlette(), "127.0.0.1", taken.getsockname()[1])


def test_https_wants_a_pair(tmp_path):
    certificate, key = tmp_path / "a.pem", tmp_path / "b.pem"
    for given, what in (
        ((certificate, None), "its key"), ((certificate, key), "No such file"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=what):
            service.HttpServer(Starlette(), "127.0.0.1", 0, *given)
    certificate.write_text("x")
    key.write_text("y")
    with pytest.raises(ConfigError, match="not a certificate"):
        service.HttpServer(Starlette(), "127.0.0.1", 0, certificate, key)
