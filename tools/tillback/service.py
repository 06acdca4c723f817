"""What runs for long: parts side by side, each started again when it fails, and ended in order."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evtill.core.errors import ConfigError
from tillback.http_protocol import HttpProtocol
from tillback.metrics import Metrics

GRACE_S = 10  # for what is in hand at the end
_BACK_OFF_S = (1.0, 30.0)

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

log = logging.getLogger(__name__)

Check = Callable[[], str]  # why it is not well, or ""


class Supervisor:
    """run() keeps its parts going until a signal or stop(). A part that fails is started again,
    later each time; `troubles` says what is down: {name: why}."""

    def __init__(self, parts: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """parts: in the order in which they are ended."""
        self._parts = parts
        self._stop = asyncio.Event()
        self.troubles: dict[str, str] = {}

    def stop(self) -> None:
        """Has run() end."""
        self._stop.set()

    async def run(self, handle_signals: bool = True) -> None:
        """Returns when every part has ended; each has GRACE_S for what it has in hand."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM) if handle_signals else ()
        for one in signals:
            loop.add_signal_handler(one, self.stop)
        tasks = {name: asyncio.create_task(self._keep(name, part))
                 for name, part in self._parts.items()}  # fmt: skip
        try:
            await self._stop.wait()
        finally:
            for name, task in tasks.items():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                    await asyncio.wait_for(asyncio.shield(task), GRACE_S)
                if not task.done():
                    log.warning("%s did not end within %d s", name, GRACE_S)
            for one in signals:
                loop.remove_signal_handler(one)

    async def _keep(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        least_s, most_s = _BACK_OFF_S
        pause_s = least_s
        while True:
            began_s = asyncio.get_running_loop().time()
            try:
                self.troubles.pop(name, None)
                await part()
                return
            except Exception as error:
                log.exception("%s failed", name)
                self.troubles[name] = type(error).__name__
            if asyncio.get_running_loop().time() - began_s > most_s:
                pause_s = least_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, most_s)


def health(metrics: Metrics, checks: Mapping[str, Check]) -> list[Route]:
    """/healthz (200, or 503 and what is wrong) and /metrics."""

    async def healthz(_: Request) -> Response:
        found = {name: await asyncio.to_thread(check) for name, check in checks.items()}
        said = {"status": "failing" if any(found.values()) else "ok",
                **{name: why or "ok" for name, why in found.items()}}  # fmt: skip
        return JSONResponse(said, 503 if any(found.values()) else 200)

    async def exposition(_: Request) -> Response:
        text = await asyncio.to_thread(metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/healthz", healthz), Route("/metrics", exposition)]


def counted(app: ASGIApp, metrics: Metrics) -> ASGIApp:
    """`app`, its answers counted by method and status."""

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in _METHODS else "other"
                metrics.requests.labels(method, str(message["status"])).inc()
            await send(message)

        await app(scope, receive, sending)

    return counting


class HttpServer:
    """A part for Supervisor, run(), that serves `app` at `listen` (HOST:PORT; port 0: a free one).
    `url` says where, from the beginning: whoever comes early waits."""

    def __init__(
        self, app: ASGIApp, host: str, port: int, certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:  # fmt: skip
        """certificate, key: PEM, for HTTPS. Raises ConfigError where it cannot listen."""
        shown = f"[{host}]" if ":" in host else host
        if certificate or key:
            _check_pair(certificate, key)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise ConfigError(f"{shown}:{port}: {error.strerror or error}") from error
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://{shown}:{self._socket.getsockname()[1]}"
        self._config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, lifespan="off",
            timeout_graceful_shutdown=GRACE_S, h11_max_incomplete_event_size=16384,
            http=HttpProtocol, ssl_certfile=certificate, ssl_keyfile=key,
        )  # fmt: skip

    async def run(self) -> None:
        """Serves until cancelled, and then what is under way."""
        server = _Server(self._config)
        task = asyncio.create_task(server.serve([self._socket]))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            server.should_exit = True
            await task
            raise


def _check_pair(certificate: Path | None, key: Path | None) -> None:
    if certificate is None or key is None:
        raise ConfigError("HTTPS wants a certificate and its key")
    try:
        ssl.create_default_context().load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise ConfigError(f"{certificate}: not a certificate that {key} belongs to") from error
    except OSError as error:
        raise ConfigError(f"{certificate}, {key}: {error.strerror or error}") from error


class _Server(uvicorn.Server):
    """Leaves the process's signals to Supervisor."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
