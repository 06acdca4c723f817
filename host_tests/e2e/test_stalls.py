"""The meter is read on time and the display lives, whatever on the network does not answer; and
the record arrives once it does.

In real time and by the real clock: the simulated one waits for a loop that a call blocks."""

import contextlib
import itertools
import socket
import threading
import time

import pytest

from host_tests.e2e.charger import HEAD, charger, check, outcome, step, tap

PERIOD_S = 1.0
LATE_S = 0.2
FROM_S, UNTIL_S = 6, 18


@contextlib.contextmanager
def black_hole(port):
    """SYNs are dropped: the listener's queue is full."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind(("127.0.0.1", port))
        hole.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        yield


@contextlib.contextmanager
def server(port, says):
    """Takes every connection, and sends `says` at half a second a byte."""
    with contextlib.ExitStack() as stack:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        over = threading.Event()

        def one(end):
            with contextlib.suppress(OSError):
                for i in range(len(says)):
                    end.sendall(says[i : i + 1])
                    if over.wait(0.5):
                        return

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    end = stack.enter_context(listener.accept()[0])
                    threading.Thread(target=one, args=(end,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def mute(port):
    return server(port, b"")


def trickle(port):
    """The beginning of a ServerHello, which has 122 bytes (RFC 8446, 4.1.3)."""
    return server(port, b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(range(64)))


@contextlib.contextmanager
def instead(virtual, what):
    """`what` stands where the relay to the broker did."""
    virtual.relay.shut()
    with what(virtual.relay.port):
        yield
    virtual.relay.open()


STALLS = {
    "SYN dropped": (HEAD, lambda virtual: instead(virtual, black_hole)),
    "silent": (HEAD, lambda virtual: instead(virtual, mute)),
    "TLS hangs": (HEAD + "tls = true\n", lambda virtual: instead(virtual, mute)),
    "TLS trickles": (HEAD + "tls = true\n", lambda virtual: instead(virtual, trickle)),
}


@pytest.mark.parametrize("stall", STALLS)
def test_a_broker_that_stalls_delays_no_reading_and_loses_no_record(tmp_path, stall):
    head, begin = STALLS[stall]
    text = head + step(1, "plug", kw=11) + tap(2) + tap(UNTIL_S + 1) + step(44, "end")
    with charger(tmp_path, text, real_time=True) as playing, contextlib.ExitStack() as during:
        virtual = playing.charger
        read, shown = [], []
        feed = virtual.meter.feed

        def listen(data):
            read.append(time.monotonic())
            return feed(data)

        def look(screen):
            if screen["lines"][0].startswith("Charging"):
                shown.append(time.monotonic())

        virtual.meter.feed, virtual.on_display = listen, look
        playing.besides += [
            (FROM_S * 1000, lambda: during.enter_context(begin(virtual))),
            (UNTIL_S * 1000, during.close),
        ]
        playing.run()
        result = outcome(playing, tmp_path / "out")
    check(result)
    assert len(shown) > 12
    gaps = [max(later - before for before, later in itertools.pairwise(times))
            for times in ([at for at in read if shown[0] < at <= shown[-1]], shown)]  # fmt: skip
    print(f"{stall}: longest gaps {gaps[0]:.3f} s at the meter, {gaps[1]:.3f} s at the display")
    assert max(gaps) <= PERIOD_S + LATE_S
