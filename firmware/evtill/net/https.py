"""HTTPS to one host, for `requests`: it checks no certificate, follows redirects with credentials
and knows no deadline, so it gets its socket from here. Blocks: call it in the worker.

To `requests` the URL is http; what it writes is TLS, or nothing at all."""

import select
import socket
from errno import EINPROGRESS
from time import ticks_add, ticks_diff, ticks_ms

import requests

from evtill.core.errors import LinkError, TrustError

_ANSWER_BYTES = 2048  # of headers and body together; of a file, the headers
_PIECE = 256


def post(context, host, port, path, headers, body, timeout_ms):
    """(status, body) of the answer. context: tls_context.context(). timeout_ms: for all after the
    name look-up, which has a limit of its own. Raises LinkError, and TrustError before anything of
    the request has left; the text is one line."""
    wire = _Wire(context, host, port, timeout_ms)
    try:
        answer = wire.ask("POST", path, headers, body)
        # By its length: some servers end a connection half a minute after their last word.
        return answer.status_code, wire.read(_length(answer))
    except (OSError, ValueError) as e:
        raise _link_error(e)
    finally:
        wire.close()


def get(context, host, port, path, headers, timeout_ms):
    """A file, asked for as by post(): (socket, not blocking, which it comes from; what has come of
    it already; its length). Raises LinkError, TrustError. timeout_ms: until it begins."""
    wire = _Wire(context, host, port, timeout_ms)
    try:
        answer = wire.ask("GET", path, headers, None)
        if answer.status_code != 200:
            raise LinkError("https: status %d" % answer.status_code)
        length = _length(answer)
        if length < 0:
            raise LinkError("https: no content-length")
        return wire.hand_over() + (length,)
    finally:
        wire.close()


def _length(answer):
    """The bytes of its body; -1 where it does not say."""
    text = answer.headers.get("content-length", "")
    return int(text) if 0 < len(text) < 10 and text.isdigit() else -1


def _link_error(e):
    return LinkError("https: %s" % " ".join(str(e).split()))


def _header(line, kept):
    """Looks at a header line before `requests` does what it says."""
    name, _, value = bytes(line).partition(b":")
    name = name.strip().lower()
    if name == b"location":
        raise LinkError("https: redirects are not followed")
    if name == b"transfer-encoding":
        raise LinkError("https: transfer-encoding")
    kept[str(name, "utf-8")] = str(value.strip(), "utf-8")


class _Wire:
    """The module `socket` and the one socket of it, for one request."""

    SOCK_STREAM = socket.SOCK_STREAM

    def __init__(self, context, host, port, timeout_ms):
        self._context = context
        self._address = (host, port)
        self._timeout_ms = timeout_ms
        self._end = None
        self._sock = None
        self._out = b""  # not yet written: a request is one write
        self._in = b""
        self._room = _ANSWER_BYTES  # for so much more

    def ask(self, method, path, headers, body):
        """What `requests` makes of the answer, its body unread. Raises LinkError."""
        requests.socket = self
        host = headers["Host"] = "%s:%d" % self._address
        try:
            return requests.request(method, "http://%s%s" % (host, path), data=body,
                                    headers=headers, parse_headers=_header)  # fmt: skip
        except (OSError, ValueError, IndexError, NotImplementedError) as e:
            raise _link_error(e)
        finally:
            requests.socket = None  # or it would keep the context and all

    def hand_over(self):
        """(the socket, what was read of it too much), to read on without this wire."""
        sock, self._sock = self._sock, None
        return sock, self._in

    # -- as the module ------------------------------------------------------------------------

    def getaddrinfo(self, host, port, *kind):
        if (host, port) != self._address or self._end is not None:
            raise LinkError("https: %s:%d is not the host configured" % (host, port))
        found = socket.getaddrinfo(host, port, *kind)
        self._end = ticks_add(ticks_ms(), self._timeout_ms)
        return found

    def socket(self, family, *_):
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        return self

    # -- as the socket ------------------------------------------------------------------------

    def connect(self, address):
        sock = self._sock
        sock.setblocking(False)
        try:
            sock.connect(address)
        except OSError as e:
            if e.errno != EINPROGRESS:
                raise
        self._wait(select.POLLOUT)
        self._sock = self._context.wrap_socket(
            sock, server_hostname=self._address[0], do_handshake_on_connect=False
        )

    def write(self, data):
        self._out += data if isinstance(data, bytes) else data.encode()
        return len(data)

    def readline(self):
        while b"\n" not in self._in and self._more():
            pass
        return self._take(self._in.find(b"\n") + 1 or len(self._in))

    def read(self, n=-1):
        while (n < 0 or len(self._in) < n) and self._more():
            pass
        return self._take(len(self._in) if n < 0 else n)

    def close(self):
        sock, self._sock = self._sock, None
        if sock:
            try:
                sock.close()
            except OSError:
                pass  # TLS says good-bye to a peer that is gone

    def _take(self, n):
        taken, self._in = self._in[:n], self._in[n:]
        return taken

    def _more(self):
        """Reads on, after what is still to be written. False at the end."""
        self._flush()
        while True:
            got = self._sock.read(min(_PIECE, self._room + 1))
            if got is not None:
                self._room -= len(got)
                if self._room < 0:
                    raise LinkError("https: an answer of more than %d bytes" % _ANSWER_BYTES)
                self._in += got
                return len(got) > 0
            self._wait(select.POLLIN)

    def _flush(self):
        while self._out:
            try:  # the first write shakes hands, and says nothing to a server that fails
                n = self._sock.write(self._out)
            except ValueError as e:
                raise TrustError("https: " + " ".join(str(e).split()))
            if n:
                self._out = self._out[n:]
            else:
                self._wait(select.POLLIN)

    def _wait(self, event):
        left = ticks_diff(self._end, ticks_ms())
        poll = select.poll()
        poll.register(self._sock, event)
        if left <= 0 or not poll.poll(left):
            raise LinkError("https: no answer in %d ms" % self._timeout_ms)
