"""The board's link to the broker through a bad network, byte by byte."""

import socket

import pytest

from tillsim.kernel import Kernel
from tillsim.mqtt_tap import MqttTap
from tillsim.relay import TcpRelay

ACK = b"\x32\x15\x00\x0cv1/usage/ack\x00\x07hello"
LONG_ACK = b"\x32\x1a\x00\x0cev/event/ack\x00\x08" + b"x" * 10
OTHER = b"\x32\x0c\x00\x03cmd\x00\x09hello"
PUBACK = b"\x40\x02\x00\x01"


class Link:
    """A relay between a client and a server, both in this process."""

    def __init__(self):
        self.kernel = Kernel()
        self.tap = MqttTap()
        listener = socket.create_server(("127.0.0.1", 0))
        self.relay = TcpRelay(self.kernel, listener.getsockname()[1], self.tap)
        self.board = socket.create_connection(("127.0.0.1", self.relay.port))
        self.pump()
        self.server, _ = listener.accept()
        listener.close()
        for end in (self.board, self.server):
            end.setblocking(False)

    def pump(self, for_ms=0):
        """Lets everything arrive that does so within `for_ms`."""
        done = []
        while self.kernel.poll(0.02):
            pass
        self.kernel.after(for_ms, lambda: done.append(1))
        self.kernel.run(lambda: bool(done))
        while self.kernel.poll(0.02):
            pass

    def close(self):
        for end in (self.relay, self.board, self.server):
            end.close()


@pytest.fixture
def link():
    made = Link()
    yield made
    made.close()


def got(end):
    """What has arrived; None when nothing has, b"" when the connection is cut."""
    try:
        return end.recv(65536)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""


def until_cut(end):
    """All that has arrived at an end that is cut."""
    arrived = b""
    while piece := got(end):
        arrived += piece
    assert piece == b""
    return arrived


def test_nothing_is_changed_without_a_fault(link):
    link.board.sendall(b"\xc0\x00")
    link.server.sendall(LONG_ACK[:11])
    link.pump()
    assert got(link.server) == b"\xc0\x00"
    assert got(link.board) == LONG_ACK[:11]
    assert link.tap.owed()


@pytest.mark.parametrize("n", [0, 1, 7, 13, 14])
def test_cut_after_so_many_bytes(link, n):
    link.relay.faults.cut_after = n
    link.board.sendall(b"\xc0\x00" * 3)
    link.pump()
    link.board.sendall(b"\xc0\x00" * 4)
    link.pump()
    assert until_cut(link.server) == (b"\xc0\x00" * 7)[:n]
    assert got(link.board) == b""
    assert link.relay.cuts == 1 and link.relay.faults.cut_after is None
    assert not link.tap.owed()


def test_delay_in_simulated_time_and_in_order(link):
    link.relay.faults.delay_ms = 400
    link.board.sendall(b"\xc0\x00")
    link.pump(390)
    assert got(link.server) is None and not link.tap.owed()
    link.relay.faults.delay_ms = 0
    link.board.sendall(PUBACK)
    link.pump()
    assert got(link.server) is None
    link.pump(10)
    assert got(link.server) == b"\xc0\x00" + PUBACK
    assert link.tap.owed()
    link.relay.faults.delay_ms = 400
    link.server.sendall(b"\xd0\x00")
    link.pump()
    assert not link.tap.owed()  # the server owes it no more: it is on its way
    assert got(link.board) is None
    link.pump(400)
    assert got(link.board) == b"\xd0\x00"


def test_half_open_until_clear(link):
    link.board.sendall(b"\xc0\x00")
    link.pump()
    assert got(link.server) == b"\xc0\x00" and link.tap.owed()
    link.relay.half_open()
    assert not link.tap.owed()
    link.board.sendall(b"\xc0\x00")
    link.server.sendall(b"\xd0\x00")
    link.pump(60000)
    assert got(link.server) is None and got(link.board) is None
    assert not link.tap.owed()
    link.server.close()
    link.pump(60000)
    assert got(link.board) is None
    link.relay.clear()
    link.pump()
    assert got(link.board) == b""


@pytest.mark.parametrize("piece", [1, 5, 11, 1000])
def test_lost_acknowledgements(link, piece):
    """Those alone; the broker hears that they have arrived, or it would stop sending."""
    link.relay.faults.acks = "drop"
    stream = OTHER + ACK + PUBACK + LONG_ACK + OTHER
    for i in range(0, len(stream), piece):
        link.server.sendall(stream[i : i + piece])
        link.pump()
    assert got(link.board) == OTHER + PUBACK + OTHER
    assert got(link.server) == b"\x40\x02\x00\x07\x40\x02\x00\x08"


def test_doubled_acknowledgements(link):
    link.relay.faults.acks = "duplicate"
    link.server.sendall(ACK + OTHER + PUBACK)
    link.pump()
    assert got(link.board) == ACK + b"\x3a" + ACK[1:] + OTHER + PUBACK


def test_acknowledgements_in_the_wrong_order(link):
    link.relay.faults.acks = "reorder"
    link.server.sendall(ACK + OTHER + LONG_ACK[:9])
    link.pump()
    assert got(link.board) == OTHER
    link.server.sendall(LONG_ACK[9:] + PUBACK + ACK)
    link.pump()
    assert got(link.board) == LONG_ACK + ACK + PUBACK
    link.relay.clear()
    link.pump()
    assert got(link.board) == ACK


def test_late_acknowledgements_are_overtaken_and_cut_into_no_packet(link):
    link.relay.faults.ack_delay_ms = 5000
    link.server.sendall(ACK + OTHER)
    link.pump(3000)
    assert got(link.board) == OTHER
    link.relay.faults.ack_delay_ms = 0
    link.server.sendall(LONG_ACK[:7])
    link.pump(3000)
    assert got(link.board) == LONG_ACK[:7]
    link.server.sendall(LONG_ACK[7:] + OTHER)
    link.pump()
    assert got(link.board) == LONG_ACK[7:] + OTHER + ACK
    assert got(link.server) is None  # nobody answers for the board


@pytest.mark.parametrize("n", [0, 1, 5, len(ACK)])
def test_cut_after_so_many_bytes_of_the_servers(link, n):
    link.relay.faults.cut_down_after = n
    link.server.sendall(ACK + OTHER)
    link.pump()
    link.pump()
    assert until_cut(link.board) == ACK[:n]
    assert link.relay.cuts == 1 and link.relay.faults.cut_down_after is None


def test_an_acknowledgement_that_is_halfway_is_not_touched(link):
    link.server.sendall(ACK[:5])
    link.pump()
    link.relay.faults.acks = "drop"
    link.server.sendall(ACK[5:] + ACK + OTHER[:3])
    link.pump()
    assert got(link.board) == ACK
    link.relay.faults.acks = ""
    link.server.sendall(OTHER[3:])
    link.pump()
    assert got(link.board) == OTHER
