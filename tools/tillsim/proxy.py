"""A TCP proxy on the loopback interface that does to an MQTT link what bad networks do.

Its faults may be set at any moment, from any thread; they hold for live and new connections."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

HOST = "127.0.0.1"
_PUBACK = 0x40
_CHUNK = 65536


class ProxyError(Exception):
    """The proxy did not start; the text is one line."""


class Proxy:
    """start() and stop() from a synchronous program; also a context manager.

    "Up" is from the client to the broker, "down" the other way.
    delay_ms: on the way, each way: the round trip is twice as long. Any number of chunks travel at
        the same time.
    cut_up_after, cut_down_after: so many more bytes pass that way, then the connection that
        carried the last of them is cut on both sides, and the setting is None again.
    half_open: everything is swallowed, connections stay open, new ones are accepted.
    drop_pubacks, duplicate_pubacks: how many of the PUBACKs to come are lost or arrive twice."""

    def __init__(self, target_port: int, target_host: str = HOST, port: int = 0) -> None:
        self.port = port
        self.delay_ms = 0.0
        self.cut_up_after: int | None = None
        self.cut_down_after: int | None = None
        self.half_open = False
        self.drop_pubacks = 0
        self.duplicate_pubacks = 0
        self.connections = 0  # accepted so far
        self.cuts = 0
        self.bytes_up = self.bytes_down = 0  # passed on so far
        self._target = (target_host, target_port)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._pairs: set[_Pair] = set()

    def start(self) -> None:
        """Returns when `port` accepts connections. Raises ProxyError."""
        self._started.clear()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        self._started.wait(10)
        if self._failure:
            raise ProxyError(f"proxy on port {self.port}: {self._failure}")

    def stop(self) -> None:
        """Cuts every connection and frees the port."""
        if self._thread and self._loop and self._stopping:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
            self._thread = None

    def cut(self) -> None:
        """Cuts every connection; new ones are accepted."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._cut_all)

    def __enter__(self) -> "Proxy":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.wait()
        server.close()
        tasks = [pair.task for pair in self._pairs]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            if self.half_open:
                while await reader.read(_CHUNK):
                    pass
                return
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            pair.writers.append(far_writer)
            for one in pair.writers:
                one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            up = self._relay(reader, far_writer, self._up, pair)
            down = self._relay(far_reader, writer, _PubackFilter(self).down, pair)
            await asyncio.gather(up, down)
        except (OSError, asyncio.CancelledError):
            # Refused, or reset by one side: the other is cut below. Cancelled: by stop() alone,
            # and asyncio's streams complain of handlers that end so.
            pass
        finally:
            pair.cut()
            self._pairs.discard(pair)

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        change: Callable[[bytes, "_Pair"], bytes],
        pair: "_Pair",
    ) -> None:
        """Passes on what `change` leaves of each chunk, delayed; at its end, ends the pair."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        deliver = asyncio.create_task(self._deliver(queue, writer, change, pair))
        loop = asyncio.get_running_loop()
        try:
            while True:
                data = await reader.read(_CHUNK)
                if data or not self.half_open:
                    queue.put_nowait((loop.time() + self.delay_ms / 1000, data))
                if not data:
                    break
            await deliver
        finally:
            deliver.cancel()

    async def _deliver(
        self,
        queue: "asyncio.Queue[tuple[float, bytes]]",
        writer: asyncio.StreamWriter,
        change: Callable[[bytes, "_Pair"], bytes],
        pair: "_Pair",
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data:
                pair.end()
                return
            if not self.half_open:
                data = change(data, pair)
                if data:
                    writer.write(data)
                    await writer.drain()
                if pair.doomed:
                    self.cuts += 1
                    pair.end()
                    return

    def _up(self, data: bytes, pair: "_Pair") -> bytes:
        if self.cut_up_after is not None:
            data, self.cut_up_after = self._short(data, self.cut_up_after, pair)
        self.bytes_up += len(data)
        return data

    def _short(self, data: bytes, left: int, pair: "_Pair") -> tuple[bytes, int | None]:
        if len(data) < left:
            return data, left - len(data)
        pair.doomed = True
        return data[:left], None

    def _down(self, data: bytes, pair: "_Pair") -> bytes:
        if self.cut_down_after is not None:
            data, self.cut_down_after = self._short(data, self.cut_down_after, pair)
        self.bytes_down += len(data)
        return data

    def _cut_all(self) -> None:
        for pair in list(self._pairs):
            pair.cut()


class _Pair:
    """The two connections that make one."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.task: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment]
        self.doomed = False

    def end(self) -> None:
        """Sends what is written, then closes both."""
        for writer in self.writers:
            writer.close()

    def cut(self) -> None:
        """Closes both at once."""
        for writer in self.writers:
            if writer.transport is not None:
                writer.transport.abort()


class _PubackFilter:
    """Loses or doubles PUBACKs in one connection's stream from the broker."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._rest = b""

    def down(self, data: bytes, pair: _Pair) -> bytes:
        self._rest += data
        passed = b""
        while (n := _packet_length(self._rest)) and n <= len(self._rest):
            packet, self._rest = self._rest[:n], self._rest[n:]
            times = self._times() if packet[0] == _PUBACK else 1
            passed += packet * times
        return self._proxy._down(passed, pair)

    def _times(self) -> int:
        if self._proxy.drop_pubacks > 0:
            self._proxy.drop_pubacks -= 1
            return 0
        if self._proxy.duplicate_pubacks > 0:
            self._proxy.duplicate_pubacks -= 1
            return 2
        return 1


def _packet_length(data: bytes) -> int | None:
    """Length of the MQTT packet that `data` begins with, None while unknown (MQTT 3.1.1, 2.2.3)."""
    length = 0
    for i, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return 2 + i + length
    return None
