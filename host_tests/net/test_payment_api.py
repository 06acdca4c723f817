"""What the payment API answers, byte by byte untrusted; and what no server but it may hear."""

import contextlib
import json
import socket
import ssl
import threading

import pytest

from evtill.core.errors import LinkError
from evtill.core.tokens import PREPAID
from evtill.net import payment_api
from host_tests.micropython import run
from tillctl import trust
from tillsim.pki import Authority

GOOD = {"status": "ALLOWED", "ref": "A-1", "ceiling_minor": 2500, "currency": "EUR"}
NAME = "127.0.0.1"  # as a DNS name: MbedTLS 2 looks at no others
SECRET = b"pay-password"


def parse(said, status=200):
    return payment_api.parse(status, said if isinstance(said, bytes) else json.dumps(said), "EUR")


def test_verdicts():
    assert parse(GOOD) == (True, None, "A-1", 2500, 0)
    hello = parse(GOOD | {"ceiling_minor": None, "text": "Hello"}, 201)
    assert hello[1:] == ("Hello", "A-1", None, 0)
    assert parse(GOOD | {"method": "prepaid"})[3:] == (2500, PREPAID)
    for other in ("rfid", None, 7, ["prepaid"]):
        assert parse(GOOD | {"method": other})[4] == 0
    for status, text in payment_api.VERDICTS.items():
        if status != "ALLOWED":
            assert parse({"status": status}) == (False, text, None, None, 0)
            assert parse({"status": status, "text": "No"})[1] == "No"


WRONG = [
    b"", b"{", b"[]", b"null", b"\xff", {}, {"status": "allowed"}, {"status": ["ALLOWED"]},
    GOOD | {"ref": None}, GOOD | {"ref": ""}, GOOD | {"ref": "x" * 37}, GOOD | {"ref": 'a"b'},
    GOOD | {"ref": "a|b"}, GOOD | {"ref": "a\n"}, GOOD | {"ref": "\u00e4"}, GOOD | {"ref": 7},
    GOOD | {"ceiling_minor": 0}, GOOD | {"ceiling_minor": -1}, GOOD | {"ceiling_minor": True},
    GOOD | {"ceiling_minor": 1.5}, GOOD | {"ceiling_minor": 10**9}, GOOD | {"ceiling_minor": "5"},
    GOOD | {"currency": "USD"}, GOOD | {"currency": None}, GOOD | {"text": 5},
    GOOD | {"text": "x" * 61}, GOOD | {"text": "\x1b[2J"}, {"status": "BLOCKED", "text": "\n"},
]  # fmt: skip


@pytest.mark.parametrize("said", WRONG, ids=repr)
def test_an_answer_that_is_not_one_is_no_answer(said):
    with pytest.raises(LinkError):
        parse(said)


@pytest.mark.parametrize("status", [100, 204, 400, 401, 404, 500])
def test_another_status_is_no_answer(status):
    with pytest.raises(LinkError):
        parse(GOOD, status)


class Server:
    """An HTTPS server that answers each request with `answer`, a byte each `trickle_s`; None: it
    never answers. ends: it closes the connection after its answer."""

    def __init__(self, context, answer, trickle_s=0.0, ends=True):
        self.heard = []
        self.connections = 0
        self._context, self._answer, self._trickle_s = context, answer, trickle_s
        self._ends = ends
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                self.connections += 1
                with contextlib.suppress(OSError), plain:
                    self._one(plain)

    def _one(self, plain):
        plain.settimeout(20)
        with self._context.wrap_socket(plain, server_side=True) as tls:
            said = b""
            while b"\r\n\r\n" not in said or len(said.split(b"\r\n\r\n", 1)[1]) < 10:
                said += (got := tls.recv(4096))
                if not got:
                    break
            self.heard.append(said)
            if self._answer is None:
                self._stopped.wait()
                return
            if not self._trickle_s:
                tls.sendall(self._answer)
                if not self._ends:
                    self._stopped.wait()
                return
            for i in range(len(self._answer)):
                tls.sendall(self._answer[i : i + 1])
                if self._stopped.wait(self._trickle_s):
                    return

    def close(self):
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


CODE = """
import sys, time
from evtill.core.errors import LinkError
from evtill.net import https, payment_api, tls_context
port, host, seconds = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
config = {"charger_id": "c1", "payment_host": host, "payment_port": port, "payment_s": seconds,
          "payment_password": "pay-password"}
began = time.ticks_ms()
try:
    context = tls_context.context(sys.argv[1], "payment_ca.der")
    print(payment_api.authorise(https.post, context, config, "0011223344556677", "EUR"))
except LinkError as e:
    print(type(e).__name__, e)
print(time.ticks_diff(time.ticks_ms(), began))
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + json.dumps(GOOD).encode()


def ask(tmp_path, answer, name=NAME, host=NAME, other_ca=False, seconds=3, **more):
    """(server, what the board's side printed, ms that it took)"""
    authority = Authority(tmp_path / "pki")
    issued, client = authority.issue(name), authority.issue("c1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    ca = Authority(tmp_path / "other").certificate if other_ca else authority.certificate
    files = trust.files("c1", None, ca, client.certificate, client.key)
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    server = Server(context, answer, **more)
    try:
        said = run(CODE, str(tmp_path), str(server.port), host, str(seconds)).splitlines()
    finally:
        server.close()
    return server, said[0], int(said[1])


def test_an_authorisation_over_mutual_tls(tmp_path):
    server, said, _ = ask(tmp_path, OK)
    assert said == "(True, None, 'A-1', 2500, 0)"
    head, body = server.heard[0].split(b"\r\n\r\n", 1)
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"POST /v1/authorizations HTTP/1.")
    fields = dict(line.split(b": ", 1) for line in lines[1:])
    assert fields[b"Authorization"] == b"Bearer " + SECRET
    assert len(bytes.fromhex(fields[b"Idempotency-Key"].decode())) == 16
    assert json.loads(body) == {"charger": "c1", "token": "0011223344556677", "currency": "EUR"}


def test_an_answer_is_over_when_its_length_is_there(tmp_path):
    """Not when the server hangs up, which may take it half a minute."""
    head, body = OK.split(b"\r\n\r\n")
    answer = head + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    _, said, took_ms = ask(tmp_path, answer, ends=False)
    assert said == "(True, None, 'A-1', 2500, 0)" and took_ms < 1500


@pytest.mark.parametrize("length", [b"9", b"99999"])
def test_a_length_that_is_wrong_is_no_answer(tmp_path, length):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n{\"status\":"
    assert ask(tmp_path, answer, seconds=2)[1].startswith("LinkError ")


@pytest.mark.parametrize(
    "wrong", [{"other_ca": True}, {"name": "another.test"}], ids=["CA", "host name"]
)
def test_a_server_that_is_not_it_hears_nothing(tmp_path, wrong):
    server, said, _ = ask(tmp_path, OK, **wrong)
    assert said.startswith("TrustError https: The certificate"), said
    assert server.heard == [] and server.connections == 1


REFUSED = {
    "redirect": b"HTTP/1.1 307 Go\r\nlocation: https://127.0.0.1:%d/x\r\n\r\n",
    "redirect to GET": b"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:%d/\r\n\r\n",
    "redirect in a success": b"HTTP/1.1 200 OK\r\nLocation: /x\r\n\r\n{}",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "no HTTP": b"\x00\xff\n" * 40,
    "too long": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 5000,
    "endless line": b"x" * 5000,
    "cut": b"HTTP/1.1 200",
    "nothing": b"",
}


@pytest.mark.parametrize("answer", REFUSED)
def test_an_answer_that_is_refused(tmp_path, answer):
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        text = REFUSED[answer].replace(b"%d", b"%d" % elsewhere.getsockname()[1])
        _, said, _ = ask(tmp_path, text, seconds=2)
        assert said.startswith("LinkError "), said
        with pytest.raises(BlockingIOError):  # nobody went there
            elsewhere.accept()


def test_a_server_that_trickles_is_given_up_in_time(tmp_path):
    """One deadline over everything, not one a byte."""
    server, said, took_ms = ask(tmp_path, OK, trickle_s=0.2, seconds=2)
    assert said == "LinkError https: no answer in 2000 ms"
    assert 1900 <= took_ms < 2600
    assert len(server.heard) == 1
