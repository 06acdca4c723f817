"""The name server of the virtual charger's network: every name is this machine."""

import socket

from tillsim.kernel import Kernel

_HEADER = 12
_ANSWER = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"  # 127.0.0.1 for 60 s


class NameServer:
    """Answers one question for an address (RFC 1035, section 4). silent: it swallows them all."""

    def __init__(self, kernel: Kernel) -> None:
        self.silent = False
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._kernel = kernel
        kernel.watch(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def on_readable(self) -> None:
        query, sender = self._socket.recvfrom(512)
        self.asked += 1
        if self.silent or len(query) < _HEADER:
            return
        head = query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
        self._socket.sendto(head + query[_HEADER:] + _ANSWER, sender)

    def close(self) -> None:
        self._kernel.unwatch(self)
        self._socket.close()
