"""The MQTT 3.1.1 link: umqtt.simple's client with another way to wait.

The worker thread gets what blocks, the name look-up, and what computes for long, each step of the
TLS handshake. Nobody waits for the peer in there: all waiting, from TCP's connect on, is on the
asyncio loop over a non-blocking socket. "MQTT" below is the OASIS standard MQTT Version 3.1.1.
"""

import asyncio
import os
import socket
from asyncio import core
from errno import EINPROGRESS
from time import ticks_diff, ticks_ms

from micropython import const
from umqtt.simple import MQTTClient

from evtill.core.errors import LinkError, TrustError

# MQTT 2.2.1 and 2.2.2: first bytes, flags included.
_CONNECT = const(0x10)
_CONNACK = const(0x20)
_PUBLISH = const(0x30)
_PUBACK = const(0x40)
_SUBSCRIBE = const(0x82)
_SUBACK = const(0x90)
_PINGREQ = const(0xC0)
_PINGRESP = const(0xD0)
_DISCONNECT = const(0xE0)

_DOWN = const(0)  # no socket, or one that is about to be closed
_GREETING = const(1)  # CONNECT sent, CONNACK awaited
_SUBSCRIBING = const(2)  # SUBSCRIBE sent, SUBACK awaited
_UP = const(3)

_SKIP_MAX = const(65536)  # a message longer than the buffer is passed over up to this length
_IPPROTO_TCP = const(6)
_TCP_NODELAY = const(1)


def _nothing(*_):
    pass


class MqttLink(MQTTClient):
    """A link that run() keeps up. Set before run(), all called on the loop:
    on_message(topic, payload): two bytes objects. QoS 1 is acknowledged once it has returned; what
        it raises ends run(), and the broker sends the message again on the next connection.
    on_puback(packet_id): the broker has taken this publish.
    on_up(session_present), on_down(reason): `reason` is the LinkError; as text, one line.
    on_room(): publish_nowait() said None before, and may take the next one now.
    subscriptions: topics (bytes or str), subscribed at QoS 1. Last will: set_last_will().

    worker: a Worker, or anything with its call(). ssl: None or an SSLContext. keepalive in s.
    rx_bytes: the longest packet to receive; tx_bytes: what is sent as one write;
    window: QoS 1 publishes in flight at most."""

    connect_ms = 10000  # for TCP and TLS together, then again for the MQTT handshake
    dead_ms = 10000  # the broker is gone when nothing answers a ping in this time
    puback_ms = 30000
    backoff_ms = (1000, 60000)  # the first and the longest pause before a new attempt

    # The base's blocking versions, out of reach.
    connect = publish = subscribe = wait_msg = check_msg = ping = None

    def __init__(self, worker, client_id, server, port=0, user=None, password=None, keepalive=60,
                 ssl=None, subscriptions=(), rx_bytes=2048, tx_bytes=4096, window=12):  # fmt: skip
        MQTTClient.__init__(self, client_id, server, port, user, password, keepalive)
        if ssl and not port:
            self.port = 8883
        self.ssl = ssl
        self.subscriptions = subscriptions
        self.window = window
        self.on_message = self.on_puback = self.on_up = self.on_down = self.on_room = _nothing
        self.skipped = 0  # messages passed over because they are longer than rx_bytes
        self.stray = 0  # PUBACKs that no publish waits for
        self._worker = worker
        self._rx = memoryview(bytearray(rx_bytes))
        self._tx = memoryview(bytearray(tx_bytes))
        self._wake = asyncio.Event()
        self._attempt = 0
        self._leaving = self._present = False
        self._stepping = False  # the worker is in the socket
        self._sub_id = 0
        self._reset()

    def _reset(self):
        self._state = _DOWN
        self._fault = None
        self._filled = 0  # _rx[:_filled] is received and not yet taken
        self._skip = 0  # bytes of a passed-over message still to come
        self._skip_id = 0  # its packet id, if it asks for a PUBACK
        # _tx[_from:_to] is to be written. The socket was last offered it up to _offered: TLS wants
        # a write that would have blocked repeated as it was.
        # ... and _long, a payload that is too long for _tx, behind what _tx holds up to _mark.
        self._from = self._offered = self._to = self._mark = 0
        self._long = None
        self._draining = None
        self._starved = False
        self._pending = {}  # packet id: ticks when sent, of publishes without their PUBACK
        self._pinged = False
        # Ticks: last received, last sent, ping or connection begun.
        self._heard = self._spoke = self._since = ticks_ms()

    # --- for the application ---

    @property
    def up(self):
        """Whether the broker has accepted the connection and the subscriptions."""
        return self._state == _UP

    @property
    def in_flight(self):
        """How many publishes wait for their PUBACK."""
        return len(self._pending)

    def publish_nowait(self, topic, payload, retain=False, qos=1):
        """Sends one message; its packet id (0 for QoS 0), or None when window or buffer are full
        at the moment (on_room() tells when they no longer are).

        A publish that has no PUBACK when the link goes down is the caller's to send again.
        Raises LinkError when the link is down. A payload that does not fit tx_bytes is sent from
        where it lies: it must not change until the PUBACK."""
        if self._state != _UP:
            raise LinkError("link is down")
        if self._to or qos and len(self._pending) >= self.window:
            self._starved = True
            return None
        payload = _octets(payload)
        head = _string(topic)
        pid = 0
        if qos:
            pid = self._next_id()
            head += _number(pid)
        body = len(head) + len(payload)
        fits = 5 + body <= len(self._tx)
        end = self._begin(_PUBLISH | qos << 1 | bool(retain), body, body if fits else len(head))
        end = self._add(end, head)
        if fits:
            end = self._add(end, payload)
        else:
            self._long = memoryview(payload)
            self._mark = end
        if qos:
            self._pending[pid] = ticks_ms()
        self._commit(end)
        return pid

    def disconnect(self):
        """Says good-bye (the broker drops the last will) and ends run()."""
        self._leaving = True
        if self._state != _DOWN:
            try:
                self._send(_DISCONNECT)
            except LinkError:
                pass  # it is gone already
        self._fail(None)

    async def run(self):
        """Keeps the link up, with growing random pauses between attempts, until disconnect().

        Lets through only what on_message and its like raise."""
        first_ms, longest_ms = self.backoff_ms
        self._leaving = False
        while not self._leaving:
            self._reset()
            try:
                await self._connection()
                return
            except LinkError as e:
                self.on_down(e)
            pause_ms = min(first_ms << min(self._attempt, 16), longest_ms)
            self._attempt += 1
            # between half and all of it, so that a thousand chargers do not come back at once
            pause_ms -= (pause_ms >> 1) * int.from_bytes(os.urandom(2), "big") >> 16
            await asyncio.sleep_ms(pause_ms)

    # --- one connection ---

    async def _connection(self):
        """From the name look-up to the end of the link. Raises LinkError; returns after
        disconnect()."""
        reader = None
        try:
            await self._open()
            if self._leaving:
                return
            self._heard = self._spoke = self._since = ticks_ms()
            self._state = _GREETING
            reader = asyncio.create_task(self._read())
            while self._state != _DOWN:
                self._wake.clear()
                try:
                    await asyncio.wait_for_ms(self._wake.wait(), self._check())
                except asyncio.TimeoutError:
                    pass
            if self._fault:
                raise self._fault
        finally:
            self._state = _DOWN
            if reader:
                reader.cancel()
            if self._draining:
                self._draining.cancel()
            sock, self.sock = self.sock, None
            if not self._stepping:  # else the worker is in it, and closes it
                _closed(sock)

    async def _open(self):
        """Connects, and writes CONNECT: TLS shakes hands before its first byte. Raises LinkError,
        TrustError."""
        try:
            entry = (await self._worker.call(
                socket.getaddrinfo, self.server, self.port, 0, socket.SOCK_STREAM))[0]  # fmt: skip
            self._since = ticks_ms()
            sock = self.sock = socket.socket(entry[0], socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                sock.connect(entry[-1])
            except OSError as e:
                if e.errno != EINPROGRESS:
                    raise
            await self._soon(core._io_queue.queue_write)
            try:
                sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
            except OSError:
                pass  # a port without it is slower, no more
            if self.ssl:
                self.sock = self.ssl.wrap_socket(
                    sock, server_hostname=self.server, do_handshake_on_connect=False
                )
            body = self._hello()
            await self._greet(self._add(self._begin(_CONNECT, len(body)), body))
        except OSError as e:
            raise LinkError("cannot connect: %s" % e) from None
        except ValueError as e:  # so it tells of a certificate that does not verify
            raise TrustError("cannot connect: " + " ".join(str(e).split())) from None

    async def _greet(self, end):
        """Writes _tx[:end]."""
        at = 0
        queue = core._io_queue.queue_read if self.ssl else core._io_queue.queue_write
        while at < end and not self._leaving:
            if self.ssl:
                n = await self._worker.call(self._step, self.sock, self._tx[at:end])
            else:
                n = self.sock.write(self._tx[at:end])
            if n:
                at += n
            else:
                await self._soon(queue)

    def _step(self, sock, data):
        """In the worker: one write, and what of the handshake can be done without waiting."""
        self._stepping = True
        try:
            return sock.write(data)
        finally:
            self._stepping = False
            if sock is not self.sock:  # given up meanwhile
                _closed(sock)

    async def _soon(self, queue):
        """Waits in `queue` of asyncio's until the socket is ready. Raises LinkError when connect_ms
        are over: a peer that trickles has no longer than one that says nothing."""
        left = self.connect_ms - ticks_diff(ticks_ms(), self._since)
        try:
            await asyncio.wait_for_ms(_queued(queue, self.sock), max(left, 0))
        except asyncio.TimeoutError:
            raise LinkError("cannot connect: no answer") from None

    def _fail(self, fault):
        if self._state != _DOWN:
            self._state = _DOWN
            self._fault = fault
            self._wake.set()

    async def _read(self):
        stream = asyncio.StreamReader(self.sock)
        try:
            while self._state != _DOWN:
                try:
                    n = await stream.readinto(self._rx[self._filled :])
                except OSError as e:
                    raise LinkError("read: %s" % e) from None
                if n == 0:
                    raise LinkError("closed by the broker")
                if n:
                    self._heard = ticks_ms()
                    self._pinged = False
                    self._filled += n
                    self._take()
        except Exception as e:  # noqa: BLE001 - _connection() raises it
            self._fail(e)

    def _check(self):
        """Does what is due by now; ms until something will be. Raises LinkError."""
        now = ticks_ms()
        if self._state != _UP:
            left = self.connect_ms - ticks_diff(now, self._since)
            if left <= 0:
                raise LinkError("no answer to " + ("CONNECT", "SUBSCRIBE")[self._state - 1])
            return left
        patience = self.puback_ms  # a publish does not wake this task: it comes to look
        for sent in self._pending.values():
            patience = min(patience, self.puback_ms - ticks_diff(now, sent))
        if patience <= 0:
            raise LinkError("no PUBACK")
        if not self._pinged:
            # The broker must hear from us within keepalive, and we want to hear from it.
            quiet = max(ticks_diff(now, self._heard), ticks_diff(now, self._spoke))
            left = self.keepalive * 500 - quiet
            if left > 0:
                return min(left, patience)
            self._send(_PINGREQ)
            self._pinged = True
            self._since = now
        left = self.dead_ms - ticks_diff(now, self._since)
        if left <= 0:
            raise LinkError("the broker is silent")
        return min(left, patience)

    # --- sending ---

    def _begin(self, first, body, held=None):
        """Writes a fixed header behind what waits in _tx; where the packet's body begins.

        held: how much of the body is to come to _tx, where that is not all."""
        at = self._to
        if at + 5 + (body if held is None else held) > len(self._tx):
            raise LinkError("the broker takes nothing")
        self._tx[at] = first
        at += 1
        while body > 0x7F:
            self._tx[at] = body & 0x7F | 0x80
            body >>= 7
            at += 1
        self._tx[at] = body
        return at + 1

    def _add(self, at, octets):
        """Copies octets to _tx[at]; where they end."""
        end = at + len(octets)
        self._tx[at:end] = octets
        return end

    def _send(self, first, body=b""):
        """A packet other than PUBLISH."""
        self._commit(self._add(self._begin(first, len(body)), body))

    def _commit(self, end):
        self._to = end
        self._spoke = ticks_ms()
        if not self._draining and not self._write():
            self._draining = asyncio.create_task(self._drain())

    def _write(self):
        """Offers the socket what waits; whether all is gone."""
        try:
            while self._from < self._to or self._long:
                if self._long and self._from == self._mark:
                    n = self.sock.write(self._long)
                    if not n:
                        return False
                    self._long = self._long[n:] if n < len(self._long) else None
                    continue
                if self._from >= self._offered:
                    self._offered = self._mark if self._long else self._to
                n = self.sock.write(self._tx[self._from : self._offered])
                if not n:
                    return False
                self._from += n
        except OSError as e:
            fault = LinkError("write: %s" % e)
            self._fail(fault)
            raise fault from None
        self._from = self._offered = self._to = 0
        return True

    def _drain(self):
        try:
            done = False
            while not done:
                yield core._io_queue.queue_write(self.sock)
                done = self._write()
            self._draining = None
            self._room()
        except Exception as e:  # noqa: BLE001 - _connection() raises it
            self._fail(e)

    def _room(self):
        if self._starved and not self._to and len(self._pending) < self.window:
            self._starved = False
            self.on_room()

    def _next_id(self):
        while True:
            self.pid = self.pid % 0xFFFF + 1
            if self.pid not in self._pending:
                return self.pid

    def _hello(self):
        """The body of CONNECT (MQTT 3.1)."""
        flags = 0  # clean session 0: the broker keeps the subscriptions and what comes on them
        strings = [self.client_id]
        if self.lw_topic:
            strings += [self.lw_topic, self.lw_msg]
            flags |= 0x04 | self.lw_qos << 3 | bool(self.lw_retain) << 5
        if self.user is not None:
            strings += [self.user, self.pswd or b""]
            flags |= 0xC0
        # protocol level 4
        body = _string("MQTT") + bytes((4, flags)) + _number(self.keepalive)
        for s in strings:
            body += _string(s)
        return body

    def _say_subscribe(self):
        """SUBSCRIBE (MQTT 3.8) to all topics at once."""
        self._sub_id = self._next_id()
        body = _number(self._sub_id)
        for topic in self.subscriptions:
            body += _string(topic) + b"\x01"
        self._send(_SUBSCRIBE, body)

    # --- receiving ---

    def _take(self):
        """Handles the whole packets in _rx and keeps the rest. Raises LinkError."""
        at = self._skipping()
        while self._state != _DOWN and at < self._filled:
            body = self._body(at)
            if not body:
                break
            start, end = body
            if end - at > len(self._rx):
                at = self._skip_from(at, start, end)
                break
            if end > self._filled:
                break
            self._packet(self._rx[at], start, end)
            at = end
        if at:
            self._filled -= at
            self._rx[: self._filled] = self._rx[at : at + self._filled]

    def _body(self, at):
        """(start, end) of the body of the packet at _rx[at], or None while that is not known."""
        first = self._rx[at]
        # A server sends only these (MQTT 2.2.2); of PUBLISH we asked for QoS 0 and 1.
        if first & 0xF4 != _PUBLISH and first not in (_CONNACK, _PUBACK, _SUBACK, _PINGRESP):
            raise LinkError("packet of type 0x%02x" % first)
        size = 0
        for i in range(4):
            if at + 1 + i >= self._filled:
                return None
            b = self._rx[at + 1 + i]
            size |= (b & 0x7F) << 7 * i
            if b < 0x80:
                return at + 2 + i, at + 2 + i + size
        raise LinkError("remaining length of more than 4 bytes")

    def _packet(self, first, start, end):
        rx = self._rx
        if first & 0xF0 == _PUBLISH:
            if self._state == _GREETING:
                raise LinkError("PUBLISH before CONNACK")
            topic_end, payload, pid = self._head(first, start, end)
            self.on_message(bytes(rx[start + 2 : topic_end]), bytes(rx[payload:end]))
            if pid and self._state != _DOWN:
                self._send(_PUBACK, _number(pid))
        elif first == _PINGRESP:
            _expect(end - start == 0, "PINGRESP")
            self._attempt = 0
        elif first == _PUBACK:
            _expect(end - start == 2 and self._state == _UP, "PUBACK")
            self._confirm(self._got(start))
        elif first == _CONNACK:
            _expect(end - start == 2 and self._state == _GREETING and rx[start] < 2, "CONNACK")
            if rx[start + 1]:
                raise LinkError("refused by the broker: code %d" % rx[start + 1])  # MQTT 3.2.2.3
            self._present = rx[start] == 1
            if self.subscriptions:
                self._state = _SUBSCRIBING
                self._say_subscribe()
            else:
                self._ready()
        else:
            _expect(self._state == _SUBSCRIBING and end - start == 2 + len(self.subscriptions)
                    and self._got(start) == self._sub_id, "SUBACK")  # fmt: skip
            if max(rx[start + 2 : end]) > 1:
                raise LinkError("subscription refused")
            self._ready()

    def _head(self, first, start, end):
        """(end of topic, start of payload, packet id or 0) of a PUBLISH (MQTT 3.3)."""
        _expect(end - start >= 2, "PUBLISH")
        topic_end = start + 2 + self._got(start)
        payload = topic_end + (first & 2)
        # A message to be skipped is longer than _rx: its head has to be in there all the same.
        _expect(start + 2 < topic_end and payload <= min(end, len(self._rx)), "PUBLISH")
        pid = 0
        if first & 2:
            pid = self._got(topic_end)
            _expect(pid, "PUBLISH")
        return topic_end, payload, pid

    def _got(self, at):
        return self._rx[at] << 8 | self._rx[at + 1]

    def _ready(self):
        self._state = _UP
        self._wake.set()  # another deadline now
        self.on_up(self._present)

    def _confirm(self, pid):
        self._attempt = 0
        if self._pending.pop(pid, None) is None:
            self.stray += 1  # a second PUBACK harms nobody
            return
        self.on_puback(pid)
        self._room()

    def _skip_from(self, at, start, end):
        """Begins to skip a message that is longer than _rx: left alone, the broker would send it
        again on each connection. Where what is not yet taken begins."""
        first = self._rx[at]
        if first & 0xF0 != _PUBLISH or self._state == _GREETING or end - at > _SKIP_MAX:
            raise LinkError("packet of %d bytes" % (end - at))
        if self._filled - at < len(self._rx):
            return at  # more of it will come, and then its head is there
        _, payload, self._skip_id = self._head(first, start, end)
        self._skip = end - self._filled
        return self._filled

    def _skipping(self):
        """Drops what belongs to a skipped message; how many bytes of _rx that were."""
        n = min(self._skip, self._filled)
        if n:
            self._skip -= n
            if not self._skip:
                self.skipped += 1
                if self._skip_id:
                    self._send(_PUBACK, _number(self._skip_id))
        return n


def _expect(true, packet):
    if not true:
        raise LinkError("malformed " + packet)


def _octets(text):
    return text.encode() if isinstance(text, str) else text


def _number(n):
    """16 bits (MQTT 1.5.2)."""
    return bytes((n >> 8, n & 0xFF))


def _string(text):
    """With its length before it (MQTT 1.5.3)."""
    text = _octets(text)
    return _number(len(text)) + text


def _queued(queue, sock):
    yield queue(sock)


def _closed(sock):
    """Closes a socket, if there is one."""
    if sock:
        try:
            sock.close()
        except OSError:
            pass  # TLS says good-bye to a peer that is gone
