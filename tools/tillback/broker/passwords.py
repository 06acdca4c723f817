"""Passwords as mosquitto's password file keeps them: PBKDF2 with SHA-512.

Those of evtill are random, of 128 bits: no number of iterations would make them harder to guess."""

import base64
import binascii
import hashlib
import hmac
import os

_ITERATIONS = 101  # mosquitto_passwd's own


def hashed(password: str) -> str:
    """`$7$<iterations>$<salt>$<digest>`, as mosquitto_passwd writes it (which takes no colon in a
    password, and shows it to whoever sees the process list)."""
    salt = os.urandom(12)
    coded = [base64.b64encode(one).decode() for one in (salt, _digest(password, salt))]
    return f"$7${_ITERATIONS}${coded[0]}${coded[1]}"


def matches(password: str, kept: str) -> bool:
    """Whether `kept` is what hashed(), or mosquitto_passwd, made of this password."""
    try:
        start, kind, iterations, *coded = kept.split("$")
        salt, digest = (base64.b64decode(one, validate=True) for one in coded)
    except (ValueError, binascii.Error):
        return False
    if (start, kind, iterations) != ("", "7", str(_ITERATIONS)):
        return False
    return hmac.compare_digest(_digest(password, salt), digest)


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
