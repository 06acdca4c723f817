"""The registers of a meter that signs its sessions (Iskra WM3M4C), with a key of its own.

Which register is what: evtill/drivers/iskra.py cites the manual."""

import json
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

FIRST = 7000  # register: from here on they are the signer's
_LOOKS = 3  # at the status, until it is signed


class Signer:
    """read() gives (serial, register in Wh). fault: "none", or "unsigned": it never signs."""

    def __init__(self, read: Callable[[], tuple[str, int]]) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.fault = "none"
        self._read = read
        self._held: dict[int, bytes] = {}
        self._pending = 0
        self._number = 0
        self._readings: list[dict[str, object]] = []
        point = self.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        self._put(8124, point[1:])

    @property
    def pem(self) -> bytes:
        """Its public key."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def _put(self, start: int, data: bytes) -> None:
        for i in range(0, len(data), 2):
            self._held[start + i // 2] = data[i : i + 2].ljust(2, b"\0")

    def _get(self, register: int) -> int:
        return int.from_bytes(self._held.get(register, b"\0\0"), "big")

    def answer(self, request: bytes) -> bytes:
        """The reply, without its CRC, to a request of functions 3, 6 and 16 with its CRC."""
        address, function = request[:2]
        start, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        if function == 3:
            if start <= 7052 < start + count and self._pending:
                self._pending -= 1
                self._put(7052, bytes([0, 2 if self._pending or self.fault != "none" else 15]))
            body = b"".join(self._held.get(start + i, b"\0\0") for i in range(count))
            return bytes([address, 3, len(body)]) + body
        self._put(start, request[4:6] if function == 6 else request[7:-2])
        if start == 7051:
            self._obey(self._held[7051][:1])
        return request[:6]

    def _obey(self, command: bytes) -> None:
        self._put(7052, b"\0\1")
        self._pending = _LOOKS
        if command == b"B":
            self._put(7000, b"\0\1")
            self._readings = []
            self._number += 1
        else:
            self._put(7000, b"\0\0")
        length = self._get(7056)
        given = b"".join(self._held.get(7100 + i, b"\0\0") for i in range((length + 1) // 2))
        serial, wh = self._read()
        unix_s = self._get(7054) << 16 | self._get(7055)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S,000+0000", time.gmtime(unix_s))
        self._readings.append({
            "TM": stamp + " S", "TX": "B" if command == b"B" else "E", "RV": wh / 1000,
            "RI": "01-00:B0.08.00*FF", "RU": "kWh", "RT": "AC", "EF": "", "ST": "G",
        })  # fmt: skip
        meant = json.loads(given[:length]) | {
            "PG": f"T{self._number}", "MV": "Iskra", "MM": "WM3M4C", "MS": serial,
            "RD": self._readings,
        }  # fmt: skip
        data = json.dumps(meant, separators=(",", ":")).encode()
        numbers = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        # As the meter's firmware writes it: 33 bytes each, zeros before.
        body = b"".join(b"\x02\x21" + n.to_bytes(33, "big") for n in numbers)
        signature = bytes([0x30, len(body)]) + body
        self._put(7057, len(data).to_bytes(2, "big"))
        self._put(7058, len(signature).to_bytes(2, "big"))
        self._put(7612, data)
        self._put(8188, signature)
