"""The board's TCP link to the broker, relayed by the kernel, and what a bad network does to it."""

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tillsim.broker import free_port
from tillsim.kernel import Kernel
from tillsim.mqtt_tap import PUBLISH, MqttTap, packet_end
from tillsim.tls_tap import TlsTap
from tillsim.wires import Readable

_DUP = 0x08
_ACK_TOPICS = (b"/usage/ack", b"/event/ack")
_CHUNK = 65536


@dataclass
class Faults:
    """What the network does now.

    delay_ms: on the way, each way, in simulated time.
    cut_after, cut_down_after: so many more bytes of the board's, or of the server's, pass; then
        the connection that carried the last of them is cut, and this is None again.
    half_open: everything is swallowed both ways; connections stay open, new ones are accepted.
    acks: the backend's acknowledgements are lost ("drop"), arrive twice ("duplicate") or each
        second one before the first ("reorder").
    ack_delay_ms: they alone are that late, in simulated time; others overtake them."""

    delay_ms: int = 0
    cut_after: int | None = None
    cut_down_after: int | None = None
    half_open: bool = False
    acks: str = ""
    ack_delay_ms: int = 0


@dataclass(eq=False)
class _Pair:
    """The two connections that make one."""

    board: socket.socket
    server: socket.socket
    acks: "_AckFilter" = field(default_factory=lambda: _AckFilter())
    up_ms: int = 0  # when the last bytes on their way arrive
    down_ms: int = 0
    swallowed: bool = False
    up: bool = True


class _AckFilter:
    """What happens to the backend's acknowledgements in one connection's stream to the board."""

    def __init__(self) -> None:
        self.due = b""  # acknowledgements to pass on as soon as no other packet is halfway
        self._held = b""  # the one that waits for the next
        self._rest = b""
        self._passed = 0  # bytes of `_rest` that were passed on before the packet was whole

    def down(self, data: bytes, mode: str) -> tuple[bytes, bytes, list[bytes]]:
        """(what goes on to the board, what the broker is told instead of by the board,
        acknowledgements to be made `due` later)."""
        self._rest += data
        passed = told = b""
        late = []
        while (end := packet_end(self._rest)) and end[1] <= len(self._rest):
            packet, self._rest = self._rest[: end[1]], self._rest[end[1] :]
            unseen = packet[self._passed :]
            if mode and not self._passed and (packet_id := _ack_id(packet, end[0])) is not None:
                if mode == "duplicate":
                    passed += packet + bytes([packet[0] | _DUP]) + packet[1:]
                elif mode == "delay":
                    late.append(packet)
                elif mode == "reorder":
                    passed += packet + self._held if self._held else b""
                    self._held = b"" if self._held else packet
                elif packet_id:  # else the broker would stop at its limit of those in flight
                    told += b"\x40\x02" + packet_id
            else:
                passed += unseen
            self._passed = 0
        if not mode:
            self.due, self._held = self.due + self._held, b""
        if not self._passed:
            passed, self.due = passed + self.due, b""
        if not mode:
            passed += self._rest[self._passed :]
            self._passed = len(self._rest)
        return passed, told, late


def _ack_id(packet: bytes, start: int) -> bytes | None:
    """The packet id (empty at QoS 0) of an acknowledgement of the backend's; None of others."""
    topic_end = start + 2 + int.from_bytes(packet[start : start + 2], "big")
    if packet[0] >> 4 != PUBLISH or not packet[start:topic_end].endswith(_ACK_TOPICS):
        return None
    return packet[topic_end : topic_end + 2] if packet[0] & 6 else b""


class TcpRelay:
    """Passes bytes on between the board and a real server, so that the kernel knows what is owed.

    The tap hears what reaches the server, and what leaves it: what the network holds back or
    swallows is owed by nobody."""

    def __init__(self, kernel: Kernel, server_port: int, tap: MqttTap | TlsTap) -> None:
        self._kernel = kernel
        self._server_port = server_port
        self._tap = tap
        self._listener: socket.socket | None = None
        self._pairs: set[_Pair] = set()
        self.faults = Faults()
        self.cuts = 0
        self.bytes_up = 0  # that have reached the server so far
        self.port = free_port()
        self.open()

    def open(self) -> None:
        """Accepts connections (again, on the same port)."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self._listener = listener
        self._kernel.watch(Readable(listener.fileno(), self._accept))

    def shut(self) -> None:
        """Cuts every connection and refuses new ones: the server is down."""
        if self._listener is not None:
            self._kernel.unwatch(Readable(self._listener.fileno(), self._accept))
            self._listener.close()
            self._listener = None
        for pair in list(self._pairs):
            self._close(pair)

    def half_open(self) -> None:
        """From now on everything is swallowed; nobody owes anything any more."""
        self.faults.half_open = True
        self._tap.forgive()

    def clear(self) -> None:
        """The network is good again. A connection that has lost bytes meanwhile cannot go on."""
        self.faults = Faults()
        for pair in list(self._pairs):
            if pair.swallowed:
                self._close(pair)
            else:
                self._pass_down(pair, b"")

    def _accept(self) -> None:
        assert self._listener is not None
        board, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), timeout=2)
        except OSError:
            board.close()
            return
        for end in (board, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(board, server)
        self._pairs.add(pair)
        self._kernel.watch(Readable(board.fileno(), lambda: self._from_board(pair)))
        self._kernel.watch(Readable(server.fileno(), lambda: self._from_server(pair)))
        self._tap.connected(board.fileno())

    # -- up -----------------------------------------------------------------------------------

    def _from_board(self, pair: _Pair) -> None:
        data = _received(pair.board)
        if not data:
            self._ignore(pair.board)  # its end travels behind what it has sent
        pair.up_ms = self._later(pair.up_ms, lambda: self._to_server(pair, data))

    def _to_server(self, pair: _Pair, data: bytes) -> None:
        if not pair.up:
            return
        if not data:
            self._close(pair)
        elif self.faults.half_open:
            pair.swallowed = True
        else:
            data, self.faults.cut_after, cut = _short(data, self.faults.cut_after)
            self.bytes_up += len(data)
            self._tap.up(pair.board.fileno(), data)
            if not _sent(pair.server, data) or cut:
                self.cuts += cut
                self._close(pair)

    # -- down ---------------------------------------------------------------------------------

    def _from_server(self, pair: _Pair) -> None:
        data = _received(pair.server)
        if data:
            self._tap.down(pair.board.fileno(), data)
        else:
            self._ignore(pair.server)
        pair.down_ms = self._later(pair.down_ms, lambda: self._to_board(pair, data))

    def _to_board(self, pair: _Pair, data: bytes) -> None:
        if not pair.up:
            return
        if self.faults.half_open:
            pair.swallowed = True
        elif not data:
            self._close(pair)
        else:
            self._pass_down(pair, data)

    def _pass_down(self, pair: _Pair, data: bytes) -> None:
        faults = self.faults
        told: bytes = b""
        late: list[bytes] = []
        if not isinstance(self._tap, TlsTap):
            data, told, late = pair.acks.down(data, "delay" if faults.ack_delay_ms else faults.acks)
        for packet in late:
            self._kernel.after(faults.ack_delay_ms, partial(self._late, pair, packet))
        data, faults.cut_down_after, cut = _short(data, faults.cut_down_after)
        if not _sent(pair.board, data) or not _sent(pair.server, told) or cut:
            self.cuts += cut
            self._close(pair)
        self._kernel.heard()

    def _late(self, pair: _Pair, packet: bytes) -> None:
        if pair.up and self.faults.half_open:
            pair.swallowed = True
        elif pair.up:
            pair.acks.due += packet
            self._pass_down(pair, b"")

    # -- both ---------------------------------------------------------------------------------

    def _later(self, behind_ms: int, deliver: Callable[[], None]) -> int:
        """Delivers after the delay, and behind what is on its way already. Returns when."""
        at_ms = max(self._kernel.now_ms + self.faults.delay_ms, behind_ms)
        if at_ms > self._kernel.now_ms:
            self._kernel.at(at_ms, deliver)
        else:
            deliver()
        return at_ms

    def _ignore(self, end: socket.socket) -> None:
        with contextlib.suppress(KeyError):
            self._kernel.unwatch(Readable(end.fileno(), end.close))

    def _close(self, pair: _Pair) -> None:
        if not pair.up:
            return
        pair.up = False
        self._pairs.discard(pair)
        self._tap.disconnected(pair.board.fileno())
        for end in (pair.board, pair.server):
            self._ignore(end)
            end.close()
        self._kernel.heard()

    def close(self) -> None:
        self.shut()


def _short(data: bytes, left: int | None) -> tuple[bytes, int | None, bool]:
    """(what passes of `data`, how many more bytes may, whether that was the last of them)."""
    if left is None or len(data) < left:
        return data, None if left is None else left - len(data), False
    return data[:left], None, True


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(_CHUNK)
    except OSError:
        return b""


def _sent(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
    except OSError:
        return False
    return True
