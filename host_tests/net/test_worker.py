"""The worker's thread, and the loop beside it while it is stuck."""

import contextlib
import socket

import pytest

from host_tests.net.board import board


@pytest.mark.parametrize("bits", [32, 64])
def test_results_and_errors_come_back_one_job_at_a_time(bits):
    said = board(
        """
        w = Worker()
        running = [0, 0]

        def job(n):
            running[0] += 1
            running[1] = max(running)
            time.sleep_ms(5)
            running[0] -= 1
            if n % 3 == 2:
                raise ValueError(n)
            return n * n

        async def caller(n):
            try:
                return await w.call(job, n)
            except ValueError as e:
                return e.args

        print(await asyncio.gather(*[caller(n) for n in range(6)]), running[1], w.busy)
        def leave():
            raise SystemExit(3)
        try:
            await w.call(leave)
        except SystemExit as e:
            print("exit", e)
        print(await w.call(max, 3, 4))
        """,
        bits=bits,
    )
    assert said == ["[0, 1, (2,), 9, 16, (5,)] 1 False", "exit 3", "4"]


def test_a_cancelled_caller_leaves_the_thread_and_its_result_to_the_next_call():
    said = board(
        """
        w = Worker()
        log = []

        class Thing:
            def close(self):
                log.append("closed")

        def slow():
            time.sleep_ms(150)
            log.append("slow ended")
            return Thing()

        async def call():
            await w.call(slow)

        t = asyncio.create_task(call())
        await asyncio.sleep_ms(20)
        t.cancel()
        try:
            await t
        except asyncio.CancelledError:
            print("cancelled", w.busy, log)
        print(await w.call(lambda: "next"), log)
        # A flag left over from a job without a caller must not end a later call too early.
        t = asyncio.create_task(call())
        await asyncio.sleep_ms(20)
        t.cancel()
        await asyncio.sleep_ms(200)
        start = time.ticks_ms()
        await w.call(time.sleep_ms, 100)
        print(time.ticks_diff(time.ticks_ms(), start) >= 100, log)
        """
    )
    assert said == [
        "cancelled True []",
        "next ['slow ended', 'closed']",
        "True ['slow ended', 'closed', 'slow ended', 'closed']",
    ]


def test_without_threads_the_call_runs_inline():
    said = board(
        """
        from evtill.net import worker
        worker._thread = None
        w = worker.Worker()
        print(await w.call(max, 1, 2))
        try:
            await w.call(int, "x")
        except ValueError:
            print("error")
        """
    )
    assert said == ["2", "error"]


@contextlib.contextmanager
def black_hole():
    """A port whose SYNs are dropped: its queue is full."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        with socket.socket() as probe:
            probe.settimeout(0.2)
            with pytest.raises(TimeoutError):
                probe.connect(hole.getsockname())
        yield hole.getsockname()[1]


@contextlib.contextmanager
def mute(kind=socket.SOCK_STREAM):
    """A port that takes everything and says nothing."""
    with socket.socket(type=kind) as s:
        s.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            s.listen(16)
        yield s.getsockname()[1]


LINK = """
gaps = Gaps()
c = Client({more})
c.link.connect_ms = 500
c.start()
await c.until(lambda: len(c.downs) == 2)
c.task.cancel()
print(c.downs[0])
print(gaps.worst_ms)
"""
TLS = "ssl=__import__('tls').SSLContext(__import__('tls').PROTOCOL_TLS_CLIENT)"
TIME = """
from evtill.core.errors import ClockError
from evtill.net import clock_sync
gaps = Gaps()
try:
    await Worker().call(clock_sync.query, "127.0.0.1", PORT, 1)
except ClockError as e:
    print(e)
print(gaps.worst_ms)
"""
LOOK_UP = """
gaps = Gaps()
try:
    await Worker().call(socket.getaddrinfo, "nobody.invalid", 1883, 0, socket.SOCK_STREAM)
except OSError:
    print("unknown")
print(gaps.worst_ms)
"""


@pytest.mark.parametrize(
    ("server", "body", "reason"),
    [
        (black_hole, LINK.format(more=""), "cannot connect"),
        (mute, LINK.format(more=""), "no answer to CONNECT"),
        (mute, LINK.format(more=TLS), "cannot connect"),
        (lambda: mute(socket.SOCK_DGRAM), TIME, "time server: no answer"),
        (lambda: contextlib.nullcontext(0), LOOK_UP, "unknown"),
    ],
    ids=["SYN dropped", "silent broker", "TLS hangs", "silent time server", "unknown name"],
)
def test_the_loop_goes_on_within_200_ms_while_the_worker_is_stuck(server, body, reason):
    with server() as port:
        said = board(body, port)
    assert said[0].startswith(reason), said
    assert int(said[1]) <= 200, said
