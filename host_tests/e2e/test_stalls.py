"""The meter is read on time and the display lives, whatever on the network does not answer; and
the record arrives once it does.

What is timed is the board's loop, not this machine: simulated time, which passes while the loop
waits, and the real time of each turn in between, in which a call could block it, less what that
process waited for a processor. A worker's blocking call takes real time, at whose pace the
simulated one passes then."""

import contextlib
import itertools
import socket
import ssl
import time
from collections import Counter
from pathlib import Path

import pytest

from host_tests.e2e.charger import HEAD, charger, check, outcome, step, tap
from host_tests.net.test_payment_api import Server
from tillctl import trust
from tillsim.broker import free_port
from tillsim.wires import Readable

PERIOD_S, IDLE_S = 1.0, 10.0
LATE_S = 0.2
TURN_S = 0.02  # a shorter turn is computing: an ESP32 takes its own time for that
FROM_S, UNTIL_S = 6, 20
BACK_S = 60 + 8  # the longest pause before a new attempt, and a look-up that fails
BROKER = "broker.evtill.test"
NAME = "pay.evtill.test"
UNKNOWN = "04BBBBBBBBBB80"


class Watch:
    """When the meter was asked for a reading and when the display showed what."""

    def __init__(self, virtual):
        self.shown = []  # (s, first line)
        self._asked = []  # (s, request)
        self._kernel, self._board = virtual.kernel, virtual.board
        self._spent_s = 0.0
        self._began_s = None
        self._feed = virtual.meter.feed
        virtual.meter.feed, virtual.on_display = self._listen, self._look
        virtual.kernel.on_floor = self._floor

    def readings(self, since_s, until_s):
        """When each was asked for: by the request that came most often."""
        [(reading, _)] = Counter(request for _, request in self._asked).most_common(1)
        return [at_s for at_s, request in self._asked
                if since_s <= at_s <= until_s and request == reading]  # fmt: skip

    def _floor(self, has):
        if has:
            self._began_s = self._real_s()
        elif self._began_s is not None:
            self._spent_s += self._turn_s()
            self._began_s = None

    def _turn_s(self):
        spent_s = 0.0 if self._began_s is None else self._real_s() - self._began_s
        return spent_s if spent_s >= TURN_S else 0.0

    def _real_s(self):
        waited = 0
        for task in (self._board.pid, "thread-self"):  # ns run, ns waited, turns (proc(5))
            waited += int(Path(f"/proc/{task}/schedstat").read_text().split()[1])
        return time.monotonic() - waited / 1e9

    def _now_s(self):
        return self._kernel.now_ms / 1000 + self._spent_s + self._turn_s()

    def _listen(self, data):
        self._asked.append((self._now_s(), data))
        return self._feed(data)

    def _look(self, screen):
        self.shown.append((self._now_s(), screen["lines"][0].strip()))

    def showing(self, what):
        return [at_s for at_s, line in self.shown if line.startswith(what)]


def longest(times):
    return max(later - before for before, later in itertools.pairwise(times))


@contextlib.contextmanager
def black_hole(virtual):
    """SYNs are dropped: the listener's queue is full."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind(("127.0.0.1", virtual.relay.port))
        hole.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        yield


@contextlib.contextmanager
def server(virtual, says=b"", port=0):
    """Takes every connection, and sends `says` at half a simulated second a byte. Gives the
    number of connections so far, as a list's length."""
    kernel, ends = virtual.kernel, []
    listener = socket.create_server(("127.0.0.1", port or virtual.relay.port))

    def accept():
        ends.append(listener.accept()[0])
        say(ends[-1], 0)

    def say(end, at):
        if at < len(says) and end.fileno() >= 0:
            with contextlib.suppress(OSError):
                end.sendall(says[at : at + 1])
                kernel.after(500, lambda: say(end, at + 1))
                kernel.heard()

    source = Readable(listener.fileno(), accept)
    kernel.watch(source)
    yield ends
    kernel.unwatch(source)
    for end in [listener, *ends]:
        end.close()


def trickle(virtual):
    """The beginning of a ServerHello, which has 122 bytes (RFC 8446, 4.1.3)."""
    return server(virtual, b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(range(64)))


@contextlib.contextmanager
def instead(virtual, what):
    """`what` stands where the relay to the broker did."""
    virtual.relay.shut()
    with what(virtual):
        yield
    virtual.relay.open()


@contextlib.contextmanager
def nameless(virtual):
    """The link is cut, and nobody says any more where the broker is."""
    virtual.name_server.silent = True
    virtual.relay.shut()
    virtual.relay.open()
    yield
    assert virtual.name_server.asked > 4
    virtual.name_server.silent = False


STALLS = {
    "SYN dropped": ("", lambda virtual: instead(virtual, black_hole)),
    "silent": ("", lambda virtual: instead(virtual, server)),
    "TLS hangs": ("tls = true\n", lambda virtual: instead(virtual, server)),
    "TLS trickles": ("tls = true\n", lambda virtual: instead(virtual, trickle)),
    "no name": (f'[config]\nbroker_host = "{BROKER}"\n', nameless),
}


@pytest.mark.parametrize("stall", STALLS)
def test_a_broker_that_stalls_delays_no_reading_and_loses_no_record(tmp_path, stall):
    head, begin = STALLS[stall]
    text = HEAD + head + step(1, "plug", kw=11) + tap(2) + tap(UNTIL_S + 1)
    text += step(UNTIL_S + BACK_S, "end")
    with charger(tmp_path, text) as playing, contextlib.ExitStack() as during:
        virtual = playing.charger
        watch = Watch(virtual)
        playing.besides += [
            (FROM_S * 1000, lambda: during.enter_context(begin(virtual))),
            (UNTIL_S * 1000, during.close),
        ]
        playing.run()
        result = outcome(playing, tmp_path / "out")
    check(result)
    shown = watch.showing("Charging")
    gaps = longest(watch.readings(shown[0], shown[-1])), longest(shown)
    print(f"{stall}: longest gaps {gaps[0]:.3f} s at the meter, {gaps[1]:.3f} s at the display")
    assert shown[-1] - shown[0] > UNTIL_S - FROM_S and max(gaps) <= PERIOD_S + LATE_S


SERVERS = {  # what the payment API does: (its name is found, it speaks TLS, what it answers)
    "no name": (False, False, None),
    "silent": (True, False, None),
    "TLS, then silent": (True, True, None),
    "a byte a second": (True, True, b"HTTP/1.1 200 OK\r\n\r\n{}"),
}
PAYMENT_S = 2


@pytest.mark.parametrize("stuck", SERVERS)
def test_a_payment_api_that_is_stuck_delays_no_reading(tmp_path, stuck):
    """The driver reads each second how long he waits at most, which is as long as it takes; then
    he may charge up to the floor limit, be the worker still in that call or not."""
    named, tls, answer = SERVERS[stuck]
    text = HEAD + f'[config]\npayment_host = "{NAME}"\npayment_s = {PAYMENT_S}\n'
    text += "offline_floor_minor = 1500\n"
    text += step(1, "plug", kw=11) + tap(25, UNKNOWN) + tap(34) + tap(38, UNKNOWN)
    text += step(45, "end")
    during, heard = contextlib.ExitStack(), []

    def prepare(playing):
        virtual = playing.charger
        virtual.name_server.silent = not named
        issued = virtual.authority.issue(NAME)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(issued.certificate, issued.key)
            https = Server(context, answer, 1.0)
            during.callback(https.close)
            port, said = https.port, https.heard
        else:
            port = free_port()
            said = during.enter_context(server(virtual, port=port))
        heard.append(said)
        playing.scenario.config["payment_port"] = port
        playing.files = trust.files("", None, virtual.authority.certificate)

    with during, charger(tmp_path, text, prepare=prepare) as playing:
        virtual = playing.charger
        watch = Watch(virtual)
        playing.run()
        result = outcome(playing, tmp_path / "out")
    check(result)
    assert virtual.name_server.asked and bool(heard[0]) == named
    assert result.records[0]["auth"]["ceiling_minor"] == 1500
    waiting, [in_use] = watch.showing("One moment"), watch.showing("In use")
    charging = [at_s for at_s in watch.showing("Charging") if at_s < in_use]
    assert len(waiting) == PAYMENT_S + 1  # with the first, before the list was searched
    idle = watch.readings(0, charging[0])
    gaps = longest(watch.readings(charging[0], in_use + 3)), longest(charging)
    waited_s = charging[0] - waiting[0]
    print(f"{stuck}: longest gaps {gaps[0]:.3f} s at the meter, {gaps[1]:.3f} s at the display, "
          f"{longest(waiting):.3f} s at it and {longest(idle):.3f} s at the meter while asking, "
          f"waited {waited_s:.3f} s")  # fmt: skip
    assert max(*gaps, longest(waiting)) <= PERIOD_S + LATE_S
    assert longest(idle) <= IDLE_S + LATE_S
    assert in_use - 34 < 0.5 and waited_s < PAYMENT_S + 1
