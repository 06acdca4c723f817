"""The vectors of core/crypto and core/jws on MicroPython: run with the folder of vectors and the
comb table's file."""

import hashlib
import json
import os
import sys
from binascii import unhexlify

from cryptolib import aes

from evtill.core import jws
from evtill.core.crypto import curve, hashes
from evtill.core.crypto.p256 import (
    P256,
    FileTable,
    der_decode,
    der_encode,
    nonces,
    sec1_decode,
    sec1_encode,
    spki_decode,
    spki_encode,
)
from evtill.core.errors import SignatureError


def vectors(folder, name):
    with open(folder + "/" + name) as f:
        for line in f:
            yield json.loads(line)


def sha(message):
    return hashlib.sha256(message).digest()


def number(text):
    return int(text, 16)


def refused(function, *args):
    try:
        function(*args)
    except SignatureError:
        return True
    return False


def hashes_and_macs(folder):
    for v in vectors(folder, "rfc4231_hmac_sha256.jsonl"):
        got = hashes.hmac_sha256(unhexlify(v["key"]), unhexlify(v["msg"]))
        assert got == unhexlify(v["md"]), v
    for v in vectors(folder, "sp800_38b_cmac_aes.jsonl"):
        key = unhexlify(v["key"])
        if len(key) != 24:  # mbedTLS of the ESP32 port leaves 192-bit keys out
            got = hashes.cmac(aes(key, 1).encrypt, unhexlify(v["message"]))
            assert got == unhexlify(v["output"]), v
    assert hashes.constant_time_equal(b"abc", bytearray(b"abc"))
    assert not hashes.constant_time_equal(b"abc", b"abd")


def signatures(p256, folder):
    for v in vectors(folder, "rfc6979_p256_sha256.jsonl"):
        d, digest = number(v["d"]), sha(unhexlify(v["msg"]))
        assert p256.public_key(d) == (number(v["qx"]), number(v["qy"]))
        assert next(nonces(d, digest, b""))[0] == number(v["k"])
        r, s = p256.sign(d, digest, b"")
        assert r == number(v["r"]) and s in (number(v["s"]), curve.N - number(v["s"]))
    for v in vectors(folder, "cavp_siggen_p256_sha256.jsonl"):
        q, digest = p256.public_key(number(v["d"])), sha(unhexlify(v["msg"]))
        assert q == (number(v["qx"]), number(v["qy"]))
        assert p256.verify(q, digest, number(v["r"]), number(v["s"])), v
        assert p256.verify(q, digest, *p256.sign(number(v["d"]), digest, b"entropy"))
    for v in vectors(folder, "cavp_sigver_p256_sha256.jsonl"):
        q = number(v["qx"]), number(v["qy"])
        got = p256.verify(q, sha(unhexlify(v["msg"])), number(v["r"]), number(v["s"]))
        assert got == v["valid"], v
    for d in (1, 2, curve.N - 1, 1 << 200):
        q = p256.public_key(d)
        r, s = p256.sign(d, sha(b"edge"), os.urandom(32))
        assert p256.verify(q, sha(b"edge"), r, s) and not p256.verify(q, sha(b"egde"), r, s)


def wycheproof(p256, lines):
    """`lines` come one by one: together they do not fit a small heap."""
    done = 0
    for line in lines:
        if "key" in line:
            key = unhexlify(line["key"])
            continue
        tc, message, signature, valid, comment = line
        try:
            r, s = der_decode(unhexlify(signature))
            accepted = p256.verify(sec1_decode(key), sha(unhexlify(message)), r, s)
        except SignatureError:
            accepted = False
        assert accepted == valid, (tc, comment)
        done += 1
    return done


def encodings(p256):
    for d in (1, 3, 77777):
        q = p256.public_key(d)
        assert spki_decode(memoryview(spki_encode(q))) == q
        assert sec1_decode(sec1_encode(q)) == sec1_decode(sec1_encode(q, True)) == q
    assert refused(sec1_decode, b"\x04" + bytes(64)) and refused(spki_decode, bytes(91))
    for r, s in ((1, 1), (0x80, 0x7F), (curve.N - 1, 1 << 248)):
        assert der_decode(memoryview(der_encode(r, s))) == (r, s)
    assert refused(der_decode, unhexlify("3009020400008123020145"))


def envelopes(p256):
    d = 4242
    q = p256.public_key(d)
    kid = jws.thumbprint(q)
    for payload in (b"", b'{"seq":1}', b"\xfb" * 1000):
        signed = jws.es256_sign(payload, jws.USAGE, kid, lambda h: p256.sign(d, h, b""))
        assert jws.es256_verify(signed, jws.USAGE, q, p256) == (payload, kid)
    assert refused(jws.es256_verify, signed, jws.COMMAND, q, p256)
    signed = jws.hs256_sign(b'{"id":"x"}', jws.ACK, b"k" * 32)
    assert jws.hs256_verify(memoryview(signed), jws.ACK, b"k" * 32) == b'{"id":"x"}'
    for i in range(len(signed)):
        changed = bytearray(signed)
        changed[i] ^= 1
        assert refused(jws.hs256_verify, changed, jws.ACK, b"k" * 32), i
    for text in (b"A", b"QQ==", b"QR", b"+w", b"Q Q", b"QQ\n", b"\xff\xfe"):
        assert refused(jws.b64url_decode, text), text
    for header in (b"[" * 190, b"{", b"", b"null", b'{"alg":1,"typ":2}', b"\xff\xfe"):
        signed = jws.b64url_encode(header) + b".eA"
        mac = jws.b64url_encode(hashes.hmac_sha256(b"k", signed))
        assert refused(jws.hs256_verify, signed + b"." + mac, jws.ACK, b"k"), header


def main(folder, table):
    p256 = P256(FileTable(open(table, "rb")))
    hashes_and_macs(folder)
    encodings(p256)
    envelopes(p256)
    signatures(p256, folder)
    done = wycheproof(p256, vectors(folder, "wycheproof_ecdsa_secp256r1_sha256.jsonl"))
    print("ok", done)


if __name__ == "check_crypto":
    main(sys.argv[1], sys.argv[2])
