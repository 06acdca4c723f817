"""The name server of the virtual charger's network: every name is this machine."""

from tillsim.kernel import Kernel
from tillsim.udp_server import UdpServer

_HEADER = 12
_ANSWER = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"  # 127.0.0.1 for 60 s


class NameServer(UdpServer):
    """Answers one question for an address (RFC 1035, section 4). silent: it swallows them all."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.silent = False
        self.asked = 0

    def answer(self, request: bytes) -> bytes | None:
        self.asked += 1
        if self.silent or len(request) < _HEADER:
            return None
        head = request[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
        return head + request[_HEADER:] + _ANSWER
