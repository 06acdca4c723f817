"""`socket` on the virtual board's network, whose name server is asked as lwIP asks it:
getaddrinfo() blocks its thread until there is an answer, or none after the last try."""

import os
import select

import usocket
from usocket import *  # noqa: F403

_TRIES_S = (1, 1, 2, 3)  # lwIP's dns.c: four tries, each waiting longer
_EHOSTUNREACH = 113  # what lwIP's failure becomes, near enough
_A = b"\x00\x01\x00\x01"  # type A, class IN (RFC 1035, 3.2.2 and 3.2.4)

ports = {}  # of servers: the one that the firmware is told, the one on the PC
name_server = [0]  # its UDP port on the PC; 0: the PC's own resolver


def getaddrinfo(host, port, *kind):
    if name_server[0] and not host.replace(".", "").isdigit():
        host = _look_up(host)
    return usocket.getaddrinfo(host, ports.get(port, port), *kind)


def _look_up(host):
    """The IPv4 address of a name, as text."""
    question = b"".join(bytes((len(label),)) + label.encode() for label in host.split("."))
    question += b"\x00" + _A
    asked = os.urandom(2) + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + question
    sock = usocket.socket(usocket.AF_INET, usocket.SOCK_DGRAM)
    try:
        sock.connect(usocket.getaddrinfo("127.0.0.1", name_server[0])[0][-1])
        # Not settimeout(): a collection in another thread interrupts recv(), which then waits anew.
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        for seconds in _TRIES_S:
            try:
                sock.send(asked)
                if not poll.poll(seconds * 1000):
                    continue
                answer = sock.recv(512)
            except OSError:
                continue
            # One question, and an answer that points back to its name.
            if answer[:2] == asked[:2] and answer[3] & 15 == 0 and answer[6:8] != b"\x00\x00":
                return ".".join([str(byte) for byte in answer[len(asked) + 12 :][:4]])
            break
    finally:
        sock.close()
    raise OSError(_EHOSTUNREACH, "no address for " + host)
