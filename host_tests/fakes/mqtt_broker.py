"""A broker that says what a test's script says, right or wrong."""

import contextlib
import socket
import struct
import threading
import time

CONNACK = b"\x20\x02\x00\x00"
PINGRESP = b"\xd0\x00"


def suback(packet_id, codes=b"\x01"):
    return b"\x90" + length(2 + len(codes)) + struct.pack("!H", packet_id) + codes


def puback(packet_id):
    return b"\x40\x02" + struct.pack("!H", packet_id)


def publish(topic, payload, packet_id=None, first=0x30):
    body = struct.pack("!H", len(topic)) + topic
    if packet_id is not None:
        body += struct.pack("!H", packet_id)
        first |= 2
    body += payload
    return bytes((first,)) + length(len(body)) + body


def length(n):
    """Remaining length (MQTT 3.1.1, 2.2.3)."""
    out = b""
    while n > 0x7F:
        out += bytes((n & 0x7F | 0x80,))
        n >>= 7
    return out + bytes((n,))


class Client:
    """One client's connection, seen from the broker."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(20)

    def send(self, data):
        self.sock.sendall(data)

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def packet(self):
        """(first byte, body) of the next packet. EOFError when the client has closed."""
        first = self.read(1)[0]
        n = shift = 0
        while True:
            b = self.read(1)[0]
            n |= (b & 0x7F) << shift
            shift += 7
            if b < 0x80:
                return first, self.read(n)

    def expect(self, first):
        """Body of the next packet, which has to begin with `first`."""
        got, body = self.packet()
        assert got == first, f"0x{got:02x} {body!r} instead of 0x{first:02x}"
        return body

    def greet(self):
        """CONNECT and SUBSCRIBE, answered well."""
        self.expect(0x10)
        self.send(CONNACK)
        body = self.expect(0x82)
        self.send(suback(int.from_bytes(body[:2], "big")))

    def closed(self):
        """Waits until the client has closed."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                self.packet()


class MqttBroker:
    """Serves one script (a function of a Client) per connection, in turn; the last for the rest.

    tls: an ssl.SSLContext for servers, or None. `errors` holds what scripts raised, `served`
    counts connections, `accepted_at` their times."""

    def __init__(self, *scripts, receive_buffer=0, tls=None):
        self._tls = tls
        self.scripts = scripts
        self.errors = []
        self.served = 0
        self.accepted_at = []
        self._listener = socket.socket()
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(8)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)

    def _serve(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted_at.append(time.monotonic())
            script = self.scripts[min(self.served, len(self.scripts) - 1)]
            self.served += 1
            with sock:
                try:
                    if self._tls:
                        sock = self._tls.wrap_socket(sock, server_side=True)
                    with sock:
                        script(Client(sock))
                except (EOFError, OSError):
                    pass  # the client went away: what it had to say first is asserted there
                except Exception as e:  # noqa: BLE001 - the test looks at it
                    self.errors.append(e)
