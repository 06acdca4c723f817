"""A server of datagrams on the virtual charger's network, read by the kernel."""

import socket

from tillsim.kernel import Kernel


class UdpServer:
    """Each request gets what answer() says, if anything. port: where it listens."""

    def __init__(self, kernel: Kernel) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._kernel = kernel
        kernel.watch(self)

    def answer(self, request: bytes) -> bytes | None:
        raise NotImplementedError

    def fileno(self) -> int:
        return self._socket.fileno()

    def on_readable(self) -> None:
        request, sender = self._socket.recvfrom(512)
        if (said := self.answer(request)) is not None:
            self._socket.sendto(said, sender)

    def close(self) -> None:
        self._kernel.unwatch(self)
        self._socket.close()
