"""SHA-256, HMAC and CMAC over what the chip's own library computes, and a careful comparison."""

import hashlib

_BLOCK = 64  # bytes of a SHA-256 block (FIPS 180-4, 1)
_IPAD = int.from_bytes(b"\x36" * _BLOCK, "big")
_OPAD = int.from_bytes(b"\x5c" * _BLOCK, "big")
_CMAC_RB = 0x87  # x^128 + x^7 + x^2 + x + 1 (SP 800-38B, 5.3)
_MASK128 = (1 << 128) - 1


def sha256(*parts):
    """SHA-256 of the parts one after another, 32 bytes (FIPS 180-4)."""
    h = hashlib.sha256()
    for part in parts:
        h.update(part)
    return h.digest()


def hmac_sha256(key, *parts):
    """HMAC-SHA-256 of the parts one after another under a key of any length (RFC 2104)."""
    if len(key) > _BLOCK:
        key = sha256(key)
    padded = int.from_bytes(key + bytes(_BLOCK - len(key)), "big")
    h = hashlib.sha256((padded ^ _IPAD).to_bytes(_BLOCK, "big"))
    for part in parts:
        h.update(part)
    return sha256((padded ^ _OPAD).to_bytes(_BLOCK, "big"), h.digest())


def cmac(encrypt, message):
    """CMAC of `message`, 16 bytes (SP 800-38B, 6.2).

    `encrypt(block) -> block` is the keyed 16-byte cipher, called once for each block and once more:
    on a board `cryptolib.aes(key, 1).encrypt`, which is ECB."""
    subkey = _doubled(int.from_bytes(encrypt(bytes(16)), "big"))
    whole = (len(message) - 1) // 16 if message else 0
    last = bytes(message[16 * whole :])
    if len(last) < 16:
        last = last + b"\x80" + bytes(15 - len(last))
        subkey = _doubled(subkey)
    state = 0
    for i in range(0, 16 * whole, 16):
        block = int.from_bytes(message[i : i + 16], "big")
        state = int.from_bytes(encrypt((state ^ block).to_bytes(16, "big")), "big")
    return encrypt((state ^ subkey ^ int.from_bytes(last, "big")).to_bytes(16, "big"))


def _doubled(subkey):
    return (subkey << 1 ^ (subkey >> 127) * _CMAC_RB) & _MASK128


def constant_time_equal(a, b):
    """Whether two byte strings are equal, without stopping at the first difference.

    The time tells their lengths, nothing else."""
    if len(a) != len(b):
        return False
    difference = 0
    for i in range(len(a)):
        difference |= a[i] ^ b[i]
    return difference == 0
