"""The virtual charger's wires and its console, each relayed by the kernel."""

import array
import contextlib
import fcntl
import os
import pty
import socket
import termios
import tty
from collections.abc import Callable
from typing import Protocol

from tillsim.kernel import Kernel

_UART_BYTES = 4096  # that wait for the board to read them


class Device(Protocol):
    """What sits at the far end of a serial wire: bytes in, bytes out."""

    def feed(self, data: bytes) -> bytes: ...


class SerialWire:
    """A serial wire between the board and a simulated device, with its transmission time.

    A socket, not a pty: what is written lies ready at the far end at once, where a pty may pass it
    on 20 ms of real time later. So simulated time has to wait for nothing but our own reading."""

    def __init__(self, kernel: Kernel, device: Device, baud: int, latency_ms: int) -> None:
        self._kernel = kernel
        self._device = device
        self._baud = baud
        self._latency_ms = latency_ms
        self._ours, self._boards = socket.socketpair()
        for end in (self._ours, self._boards):
            end.setblocking(False)
        self.board_fd = self._boards.fileno()
        self._received = 0
        kernel.watch(self)

    def fileno(self) -> int:
        return self._ours.fileno()

    def on_readable(self) -> None:
        data = self._ours.recv(4096)
        self._received += len(data)
        self.deliver(self._device.feed(data), self._latency_ms + self._airtime_ms(data))

    def _airtime_ms(self, data: bytes) -> int:
        return -(-len(data) * 11000 // self._baud)

    def deliver(self, data: bytes, delay_ms: int = 0) -> None:
        """Sends `data` to the board, arriving after the delay and its own time on the wire."""
        if data:
            generation = self._received
            delay_ms += self._airtime_ms(data)
            self._kernel.after(delay_ms, lambda: self._arrive(data, generation))

    def _arrive(self, data: bytes, generation: int) -> None:
        if self._received < generation:
            return  # the board was powered off in between
        unread = array.array("i", [0])
        fcntl.ioctl(self.board_fd, termios.FIONREAD, unread)
        if data := data[: max(0, _UART_BYTES - unread[0])]:  # nobody reads: a UART overruns too
            self._ours.send(data)
        self._kernel.heard()

    def settled(self, board_tx_total: int) -> bool:
        """Whether everything has been heard that the board has sent."""
        return self._received >= board_tx_total

    def power_cycle(self) -> None:
        """Forgets what was under way when the board lost power."""
        for end in (self._ours, self._boards):
            with contextlib.suppress(BlockingIOError):
                while end.recv(65536):
                    pass
        self._received = 0

    def close(self) -> None:
        self._kernel.unwatch(self)
        self._ours.close()
        self._boards.close()


class Console:
    """The board's serial port as a technician sees it: a pty whose path mpremote opens.

    What the board prints while nobody reads is dropped, as a USB port drops it; all of it goes to
    `log`."""

    def __init__(self, kernel: Kernel, log: Callable[[bytes], None]) -> None:
        self._kernel = kernel
        self._log = log
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._board: socket.socket | None = None
        self._far_end = socket.socket()
        self._backlog = b""
        kernel.watch(self)

    def fileno(self) -> int:
        return self._master

    def attach(self, board: socket.socket, far_end: socket.socket) -> None:
        """board: our end of a board that is being powered on; far_end: the one that it has too."""
        self.detach()
        self._board = board
        self._far_end = far_end
        self._kernel.watch(Readable(board.fileno(), self._from_board))
        self._to_board(self._backlog)
        self._backlog = b""

    def detach(self) -> None:
        if self._board is not None:
            self._kernel.unwatch(Readable(self._board.fileno(), self._from_board))
            with contextlib.suppress(OSError):  # its last words: mpremote waits for them
                while data := self._board.recv(65536, socket.MSG_DONTWAIT):
                    self._pass_on(data)
            with contextlib.suppress(OSError):  # what it did not read waits in the UART
                self._backlog = self._far_end.recv(4096, socket.MSG_DONTWAIT)
            self._board.close()
            self._far_end.close()
        self._board = None

    def on_readable(self) -> None:
        data = os.read(self._master, 4096)
        if self._board is None:  # it is starting: what is typed meanwhile waits in the UART
            self._backlog = (self._backlog + data)[-4096:]
        else:
            self._to_board(data)

    def _to_board(self, data: bytes) -> None:
        if data and self._board is not None:
            with contextlib.suppress(OSError):  # the board is being powered off
                self._board.sendall(data)
            self._kernel.heard(urgent=True)

    def _from_board(self) -> None:
        assert self._board is not None
        try:
            data = self._board.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.detach()
            return
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        self._log(data)
        with contextlib.suppress(BlockingIOError):
            while data:
                data = data[os.write(self._master, data) :]

    def close(self) -> None:
        self.detach()
        self._kernel.unwatch(self)
        os.close(self._master)
        os.close(self._slave)


class Readable:
    """A descriptor and what to do when it is readable."""

    def __init__(self, fd: int, on_readable: Callable[[], None]) -> None:
        self._fd = fd
        self.on_readable = on_readable

    def fileno(self) -> int:
        return self._fd
