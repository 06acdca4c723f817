"""Many chargers as a backend sees them: records by the charger's own code, and outboxes that send
each until it is acknowledged. No boards: for load."""

import asyncio
import hashlib
import json
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import aiomqtt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from evtill.core import jws, ocmf, record
from evtill.core.errors import EvtillError
from evtill.core.pricing import Pricer
from evtill.core.tariff import Tariff
from tillback.mqtt import Address
from tillback.store import Store
from tillback.tariffs import add_tariff
from tillctl.public_key import PublicKey
from tillctl.tariff_compile import compile_tariff

TARIFF = {
    "id": "DE*EVT*T1", "currency": "EUR",
    "elements": [{"price_components": [
        {"type": "ENERGY", "price": 0.49, "vat": 19, "step_size": 1},
    ]}],
}  # fmt: skip
START_S = 1772435645  # 2026-03-02T07:14:05Z
FLIGHT = 8  # records of one charger on their way at once, as core.outbox has it


class FleetCharger:
    """A charger's key and chain. sign(count) makes its next records, as they are published."""

    def __init__(self, charger: str, table: bytes, rng: random.Random) -> None:
        self.id = charger
        self.ack_key = rng.randbytes(32)
        self._rng = rng
        self._key = ec.derive_private_key(rng.getrandbits(250) + 1, ec.SECP256R1())
        self.public = PublicKey(self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ))  # fmt: skip
        self._tariff = Tariff(table)
        self._seq, self._prev, self._wh = 0, "0" * 64, rng.randrange(10**6)

    def sign(self, count: int) -> list[bytes]:
        """Its next records (JWS)."""
        return [self._next() for _ in range(count)]

    def _next(self) -> bytes:
        self._seq += 1
        start_s = START_S + 7200 * self._seq
        seconds, wh = self._rng.randrange(60, 7000), self._rng.randrange(1, 60000)
        pricer = Pricer(self._tariff, start_s * 1000, self._wh)
        pricer.sample(start_s * 1000, self._wh, True)
        pricer.finish((start_s + seconds) * 1000, self._wh + wh)
        meter = {"vendor": "Eastron", "model": "SDM630", "serial": "1234567",
                 "start_wh": self._wh, "end_wh": self._wh + wh}  # fmt: skip
        auth = {"method": "rfid", "token": f"{self._rng.getrandbits(64):016x}",
                "assurance": "aes", "ref": None, "ceiling_minor": None}  # fmt: skip
        text = bytearray(ocmf.MAX_BYTES)
        end = ocmf.build({
            "pagination": self._seq, "charger": self.id, "firmware": "0.3.0", "meter": meter,
            "auth": auth, "tariff_text": f"{self._tariff.id}: 0.49 EUR/kWh + 19 % VAT", "tx": "L",
            "begin": (start_s, 3600, "S", self._wh),
            "end": (start_s + seconds, 3600, "S", self._wh + wh),
        }, text)  # fmt: skip
        r, s = self._sign(hashlib.sha256(text[ocmf.START : end]).digest())
        sealed = bytes(text[: ocmf.seal(text, end, r, s)])
        payload = record.build({
            "id": f"{self.id}-{self._seq}", "seq": self._seq, "prev": self._prev,
            "charger": self.id, "firmware": "0.3.0", "boot": 1, "start_unix_s": start_s,
            "end_unix_s": start_s + seconds, "clock_start": "S", "clock_end": "S",
            "duration_ms": seconds * 1000, "auth_method": "WHITELIST", "auth": auth,
            "meter": meter, "tariff": {"id": self._tariff.id, "sha256": self._tariff.sha256},
            "currency": "EUR", "stop_reason": "Local", "flags": [], "amends": None, "ocmf": sealed,
        }, pricer.bill())  # fmt: skip
        self._wh += wh
        published = jws.es256_sign(payload, jws.USAGE, self.public.kid, self._sign)
        self._prev = hashlib.sha256(published).hexdigest()
        return published

    def _sign(self, digest: bytes) -> tuple[int, int]:
        der = self._key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        return utils.decode_dss_signature(der)


def chargers(count: int, seed: int = 1) -> list[FleetCharger]:
    """Chargers with keys of their own, the same each time."""
    table = compile_tariff(TARIFF, "UTC", 2026)
    rng = random.Random(seed)
    return [FleetCharger(f"DE*EVT*E{n:06}", table, rng) for n in range(1, count + 1)]


def register(store: Store, fleet: Iterable[FleetCharger]) -> None:
    """Makes the chargers and their tariff known."""
    for one in fleet:
        store.register(one.id, one.public.pem, one.ack_key)
    add_tariff(store.database, compile_tariff(TARIFF, "UTC", 2026))


@dataclass(slots=True)
class _Flying:
    body: bytes
    due_s: float = 0.0
    sent: int = 0


class Outboxes:
    """The outboxes of a fleet over one connection, as core.outbox is: each charger has FLIGHT
    records on their way at most, in order, sends what is overdue again, ever more slowly, and
    forgets what a good acknowledgement names, and nothing else."""

    def __init__(
        self, fleet: list[FleetCharger], published: dict[str, list[bytes]],
        resend_s: float = 30.0,
    ) -> None:  # fmt: skip
        """published: what each charger is to send, by its id. resend_s: when it is overdue, first.
        """
        self._keys = {one.id: one.ack_key for one in fleet}
        self._queued = {charger: deque(bodies) for charger, bodies in published.items()}
        self._flying: dict[str, dict[str, _Flying]] = {one.id: {} for one in fleet}
        self._resend_s = resend_s
        self.acknowledged = 0
        self.sent = 0
        self.refused: list[str] = []

    @property
    def waiting(self) -> int:
        """Records that are not acknowledged."""
        return sum(map(len, self._queued.values())) + sum(map(len, self._flying.values()))

    async def run(
        self, address: Address, progress: Callable[[int], None] | None = None
    ) -> None:
        """Returns when all is acknowledged. progress: told of each acknowledgement's number."""
        async with address.client(identifier="outboxes", max_inflight_messages=1000) as client:
            client.pending_calls_threshold = 10**6
            await client.subscribe("evtill/v1/+/usage/ack", qos=1)
            sending = asyncio.create_task(self._send(client))
            try:
                while self.waiting:
                    message = await anext(aiter(client.messages))
                    self._hear(str(message.topic), message.payload)
                    if progress:
                        progress(self.acknowledged)
            finally:
                sending.cancel()

    async def _send(self, client: aiomqtt.Client) -> None:
        clock_s = asyncio.get_running_loop().time
        while True:
            due = [one for charger in self._queued for one in self._due(charger, clock_s())]
            for start in range(0, len(due), 200):
                await asyncio.gather(*(
                    client.publish(f"evtill/v1/{charger}/usage", body, qos=1)
                    for charger, body in due[start : start + 200]
                ))  # fmt: skip
            self.sent += len(due)
            await asyncio.sleep(0 if due else 0.005)

    def _due(self, charger: str, now_s: float) -> list[tuple[str, bytes]]:
        flying, queued = self._flying[charger], self._queued[charger]
        while queued and len(flying) < FLIGHT:
            body = queued.popleft()
            flying[hashlib.sha256(body).hexdigest()] = _Flying(body)
        found = [one for one in flying.values() if now_s >= one.due_s]
        for one in found:
            one.due_s = now_s + self._resend_s * (1 << min(one.sent, 5))
            one.sent += 1
        return [(charger, one.body) for one in found]

    def _hear(self, topic: str, body: object) -> None:
        charger = topic.split("/")[2]
        try:
            said = json.loads(jws.hs256_verify(body, jws.ACK, self._keys[charger]))
        except EvtillError:
            return
        if "error" in said:
            self.refused.append(said["error"])
        elif self._flying[charger].pop(said["sha256"], None):
            self.acknowledged += 1
