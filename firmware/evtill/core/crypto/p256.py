"""ECDSA over P-256 with SHA-256 digests, in bytecode (FIPS 186-5, 6; RFC 6979).

Secrets meet three defences: nonces are hedged (nothing is lost when the random source is poor, and
no two runs are alike when it is good); digits, coordinates and inversions are blinded; a signature
is checked before anybody sees it, because a faulty one can give the key away.
"""

import hashlib

from evtill.core.crypto.curve import TABLE_BYTES, Comb, N, P, affine, comb_of, inverse, on_curve
from evtill.core.crypto.der import (  # noqa: F401  (one import serves who signs and who encodes)
    der_decode,
    der_encode,
    sec1_decode,
    sec1_encode,
    spki_decode,
    spki_encode,
)
from evtill.core.crypto.hashes import hmac_sha256, sha256
from evtill.core.errors import SignatureError

# Of p256.tab as tools/make_p256_table.py writes it: a wrong entry would sign with a wrong nonce.
_TABLE_SHA256 = (
    b"\x9f\x95\xae\x6d\x2d\x00\xaf\x09\xf1\xc6\x6d\xa6\x9f\x5f\xd4\x4e"
    b"\x84\x91\xad\x50\x57\xe3\x8a\x32\x02\x79\xc2\x19\x73\xc7\x2f\xd1"
)


class BytesTable:
    """A comb table that is held in memory."""

    def __init__(self, data):
        self._data = data

    def read_into(self, offset, buffer):
        buffer[:] = self._data[offset : offset + len(buffer)]


class FileTable:
    """A comb table in an open binary file, which stays open: 64 bytes are read at a time."""

    def __init__(self, file):
        self._file = file

    def read_into(self, offset, buffer):
        self._file.seek(offset)
        if self._file.readinto(buffer) != len(buffer):
            raise SignatureError("comb table of P-256 cannot be read")


class P256:
    """Signer and verifier over a comb table (p256.tab): an object with read_into(offset, buffer).

    SignatureError when the table is not the one that tools/make_p256_table.py makes."""

    def __init__(self, table):
        h = hashlib.sha256()
        piece = bytearray(512)
        for at in range(0, TABLE_BYTES, 512):
            table.read_into(at, piece)
            h.update(piece)
        if h.digest() != _TABLE_SHA256:
            raise SignatureError("comb table of P-256 is damaged or of another version")
        self._comb = Comb(table)
        self._known = None, None  # the public key verified last, and its comb

    def generate(self, urandom):
        """A private key d, 0 < d < N, from `urandom(n) -> bytes` (FIPS 186-5, A.2.2)."""
        while True:
            d = int.from_bytes(urandom(32), "big")
            if 0 < d < N:
                return d

    def public_key(self, d, blind=0):
        """(x, y) of the private key d, 0 < d < N; SignatureError otherwise.

        `blind` (0 < blind < P) randomises the computation; without it d itself supplies one."""
        if not 0 < d < N:
            raise SignatureError("private key is out of range")
        blind = blind or next(nonces(d, bytes(32), b""))[1]
        x, y = affine(self._comb.multiply(d, blind))
        if not on_curve(x, y):
            raise SignatureError("computation of a public key went wrong")
        return x, y

    def sign(self, d, digest, entropy):
        """(r, s) of a 32-byte digest under d, with s in the lower half.

        `entropy` is fresh random bytes, 32 for choice; with b"" the nonce is RFC 6979's.
        SignatureError when an input is out of range or a fault spoilt the computation."""
        if not 0 < d < N or len(digest) != 32:
            raise SignatureError("private key or digest is out of range")
        e = int.from_bytes(digest, "big")
        for k, blind in nonces(d, digest, entropy):
            r, s = self._sign_with(d, e, k, blind)
            if r and s:
                return r, min(s, N - s)

    def _sign_with(self, d, e, k, blind):
        x, y = affine(self._comb.multiply(k, blind))
        r = x % N
        s = inverse(k * blind % N, N) * (blind * (e + r * d) % N) % N
        if not on_curve(x, y) or (s * k - e - r * d) % N:
            raise SignatureError("computation of a signature went wrong")
        return r, s

    def verify(self, public_key, digest, r, s):
        """Whether (r, s) is a signature of the 32-byte digest under the point (x, y).

        A point off the curve and r or s out of range are False, not errors. The first verification
        under a key takes twice as long as the next ones under the same key: its comb is made then
        (and any way with a new key has some 256 doublings, which alone last as long as 3 to 4
        signatures)."""
        x, y = public_key
        if not (0 < r < N and 0 < s < N and on_curve(x, y) and len(digest) == 32):
            return False
        i = inverse(s, N)
        k = int.from_bytes(digest, "big") * i % N
        known, entries = self._known
        if known != public_key:
            entries = comb_of(x, y)
            self._known = public_key, entries
        x, _, zz, _ = self._comb.multiply_two(k, r * i % N, entries)
        if not zz:
            return False
        # x / zz = r (mod N) without a division: x / zz is r or, seldom, r + N.
        return r * zz % P == x or (r + N < P and (r + N) * zz % P == x)


def nonces(d, digest, entropy):
    """Yields (k, blind) for ever: nonces of RFC 6979, 3.2, with 3.6's additional data `entropy`.

    `blind` (0 < blind < P) comes from the same secret state, for whatever must not be guessed."""
    h1 = (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    x = d.to_bytes(32, "big")
    key = bytes(32)
    v = b"\x01" * 32
    for step in (b"\x00", b"\x01"):
        key = hmac_sha256(key, v, step, x, h1, entropy)
        v = hmac_sha256(key, v)
    while True:
        v = hmac_sha256(key, v)
        k = int.from_bytes(v, "big")
        if 0 < k < N:
            yield k, int.from_bytes(sha256(key, v), "big") % (P - 1) + 1
        key = hmac_sha256(key, v, b"\x00")
        v = hmac_sha256(key, v)
