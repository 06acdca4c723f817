"""Listens in on the board's MQTT link to know what real servers still owe it an answer for."""

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP = 8, 9, 12, 13
_ANSWER = {CONNECT: CONNACK, SUBSCRIBE: SUBACK, PINGREQ: PINGRESP}


def packet_end(data: bytes) -> tuple[int, int] | None:
    """(where the body begins, where it ends) of the packet that `data` begins with; None while
    that cannot be told."""
    length = 0
    for i, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << 7 * i
        if not byte & 0x80:
            return i + 2, i + 2 + length
    return None


class _Splitter:
    """Cuts a byte stream into MQTT packets (MQTT 3.1.1, section 2.2)."""

    def __init__(self) -> None:
        self._rest = b""

    def packets(self, data: bytes) -> list[tuple[int, bytes]]:
        """[(first byte, body)] of each packet that `data` completes."""
        self._rest += data
        found = []
        while (header := packet_end(self._rest)) is not None:
            start, end = header
            if len(self._rest) < end:
                break
            found.append((self._rest[0], self._rest[start:end]))
            self._rest = self._rest[end:]
        return found


class MqttTap:
    """What is owed on the links that it hears: by the broker, and by the backend behind it."""

    def __init__(self) -> None:
        self.backend_up = False
        self._splitters: dict[int, tuple[_Splitter, _Splitter]] = {}
        self._broker_owes: list[tuple[int, int]] = []  # (packet type, packet id or 0)
        self._backend_owes = 0
        self._expected: list[bytes] = []  # ends of topics

    def owed(self) -> bool:
        broker_owes = self._broker_owes or self._expected
        return bool(broker_owes) or (self.backend_up and self._backend_owes > 0)

    def expect(self, topic: bytes) -> None:
        """A message on a topic with this end is on its way down, if there is a link."""
        if self._splitters:
            self._expected.append(topic)

    def forgive(self) -> None:
        """Waits for none of what is owed now any more."""
        self._broker_owes.clear()
        self._expected.clear()
        self._backend_owes = 0

    def connected(self, link: int) -> None:
        self._splitters[link] = (_Splitter(), _Splitter())

    def disconnected(self, link: int) -> None:
        self._splitters.pop(link, None)
        self.forgive()

    def up(self, link: int, data: bytes) -> None:
        """Hears what the board sends."""
        for first, body in self._splitters[link][0].packets(data):
            kind = first >> 4
            if kind in _ANSWER:
                self._broker_owes.append((_ANSWER[kind], 0))
            elif kind == PUBLISH:
                topic_end = 2 + int.from_bytes(body[:2], "big")
                if first & 6:
                    packet_id = int.from_bytes(body[topic_end : topic_end + 2], "big")
                    self._broker_owes.append((PUBACK, packet_id))
                if body[2:topic_end].endswith((b"/usage", b"/event")):
                    self._backend_owes += 1

    def down(self, link: int, data: bytes) -> None:
        """Hears what the broker sends."""
        for first, body in self._splitters[link][1].packets(data):
            kind = first >> 4
            if kind == PUBLISH:
                topic_end = 2 + int.from_bytes(body[:2], "big")
                if self._expected and body[2:topic_end].endswith(self._expected[0]):
                    self._expected.pop(0)
                if body[2:topic_end].endswith(b"/ack"):
                    self._backend_owes = max(0, self._backend_owes - 1)
                continue
            packet_id = int.from_bytes(body[:2], "big") if kind == PUBACK else 0
            if (kind, packet_id) in self._broker_owes:
                self._broker_owes.remove((kind, packet_id))
