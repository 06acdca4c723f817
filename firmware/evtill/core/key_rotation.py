"""A record key's last word: it names the key that takes its place.

A JWS of its own type, signed by the old key, and a link of the charger's chain: `prev` is the
SHA-256 of the last record under the old key, `seq` the first one under the new key. Loaded while a
charger is provisioned; read by record_check.parse_rotation()."""

from binascii import hexlify

from evtill.core import jws
from evtill.core.crypto.der import spki_encode
from evtill.core.text import quote

ROTATION = "evtill-keyrotation+jws"


def signed(charger, seq, prev, public_key, kid, sign):
    """The rotation (JWS, bytes) to the key at the point `public_key`.

    prev: 64 hex, zeros before the first record. kid, sign: the old key's thumbprint and
    `sign(digest) -> (r, s)`. Raises SignatureError."""
    payload = '{"charger":%s,"seq":%d,"prev":"%s","kid":"%s","public_key":"%s"}' % (
        quote(charger), seq, prev, jws.thumbprint(public_key),
        hexlify(spki_encode(public_key)).decode(),
    )  # fmt: skip
    return jws.es256_sign(payload.encode(), ROTATION, kid, sign)
