"""Slow, greedy and broken clients, over real sockets: each is cut, and costs the others nothing."""

import asyncio
import contextlib
import json

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tillback import http_protocol
from tillback.api.bodies import Bodies
from tillback.service import HttpServer

SOON_S = 0.2
LATE_S = 20.0  # a test has failed by then


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


async def much(_):
    return PlainTextResponse("x" * 30_000_000)


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    for name in ("PATIENCE_S", "LINGER_S"):
        monkeypatch.setattr(http_protocol, name, SOON_S)


def play(client, within_s=SOON_S):
    """What `client(reader, writer)` returns, against a server of the two above."""

    async def run():
        app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), Route("/much", much)])
        server = HttpServer(Bodies(app, within_s=within_s), "127.0.0.1", 0)
        task = asyncio.create_task(server.run())
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            async with asyncio.timeout(LATE_S):
                found = await client(reader, writer)
                others, asks = await asyncio.open_connection(host, int(port))
                asks.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert b"200 OK" in await others.readline()
                asks.close()
                return found
        finally:
            writer.close()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return asyncio.run(run())


async def rest(reader):
    """All that comes until the end, however that comes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while got := await reader.read(65536):
            found += got
    return found


async def trickle(writer, data, pause_s=0.05):
    with contextlib.suppress(ConnectionError):
        for i in range(len(data)):
            writer.write(data[i : i + 1])
            await writer.drain()
            await asyncio.sleep(pause_s)


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_head_that_trickles_is_cut(before):
    """The first of a connection, and the next one on it."""

    async def client(reader, writer):
        writer.write(before)
        trickling = asyncio.create_task(trickle(writer, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 99))
        found = await rest(reader)
        trickling.cancel()
        return found

    assert play(client).count(b"200 OK") == (1 if before else 0)


def test_who_says_nothing_is_cut():
    async def client(reader, _):
        return await rest(reader)

    assert play(client) == b""


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


def details(answer, status):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"application/problem+json" in head
    return json.loads(body)


def test_a_body_that_trickles_is_told_so_and_cut():
    async def client(reader, writer):
        writer.write(POST + b"Content-Length: 1000\r\n\r\n")
        trickling = asyncio.create_task(trickle(writer, b"x" * 999))
        found = await rest(reader)
        trickling.cancel()
        return found

    assert details(play(client), 408)["type"] == "/problems/timeout"


@pytest.mark.parametrize("chunked", [False, True])
def test_ten_megabytes_are_refused_and_hardly_read(chunked):
    """The answer arrives, although the client goes on sending."""
    sent = 0

    async def send(writer):
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            for _ in range(160):
                piece = b"x" * 65536
                writer.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
                sent += 1
                await writer.drain()

    async def client(reader, writer):
        length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 10485760"
        writer.write(POST + length + b"\r\n\r\n")
        if not chunked:
            return await rest(reader)  # refused by what it says, before a byte of it came
        sending = asyncio.create_task(send(writer))
        found = await rest(reader)
        sending.cancel()
        return found

    assert details(play(client), 413)["type"] == "/problems/too-large"


def test_an_answer_that_nobody_takes_ends_the_connection():
    async def client(reader, writer):
        writer.transport.pause_reading()
        writer.write(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(10 * SOON_S)  # the kernel's buffers take some of it for a while
        writer.transport.resume_reading()
        return await rest(reader)

    assert len(play(client)) < 30_000_000


def test_an_answer_that_is_taken_slowly_arrives_whole(monkeypatch):
    monkeypatch.setattr(http_protocol, "PATIENCE_S", 1.0)

    async def client(reader, writer):
        writer.write(b"GET /much HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        found = b""
        for _ in range(4):
            found += await reader.readexactly(1_000_000)
            writer.transport.pause_reading()
            await asyncio.sleep(0.4)
            writer.transport.resume_reading()
        return found + await rest(reader)

    assert len(play(client)) > 30_000_000


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 20000,
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n: \r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", b"\0" * 40 + b"\r\n\r\n",
])  # fmt: skip
def test_what_is_no_http_is_told_so(data):
    async def client(reader, writer):
        writer.write(data)
        return await rest(reader)

    assert details(play(client), 400)["type"] == "/problems/bad-request"


def test_more_connections_than_there_is_room_for_are_closed(monkeypatch):
    monkeypatch.setattr(http_protocol, "CONNECTIONS", 1)

    async def client(reader, writer):
        host, port = writer.get_extra_info("peername")
        more, _ = await asyncio.open_connection(host, port)
        closed = await rest(more)
        writer.close()
        await writer.wait_closed()
        monkeypatch.setattr(http_protocol, "CONNECTIONS", 500)
        return closed

    assert play(client) == b""
