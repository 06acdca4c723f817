"""Listens in on a link that it cannot read: what is owed there can only be guessed."""

import time

_QUIET_S = 0.03


class TlsTap:
    """MqttTap's place on a link with TLS: an answer is owed until no byte has passed for a while
    (_QUIET_S of real time: broker and backend are on this machine)."""

    backend_up = False

    def __init__(self) -> None:
        self._passed_at = 0.0

    def owed(self) -> bool:
        return time.monotonic() - self._passed_at < _QUIET_S

    def expect(self, topic: bytes) -> None:
        self._passed_at = time.monotonic()

    def forgive(self) -> None:
        self._passed_at = 0.0

    def connected(self, link: int) -> None:
        self._passed_at = time.monotonic()

    def disconnected(self, link: int) -> None:
        pass

    def up(self, link: int, data: bytes) -> None:
        self._passed_at = time.monotonic()

    down = up
