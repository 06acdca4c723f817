import hashlib
import hmac
import random

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC

from evtill.core.crypto.hashes import cmac, constant_time_equal, hmac_sha256, sha256
from host_tests.core.crypto.common import vectors

rng = random.Random(4231)


def test_sha256_of_parts_is_that_of_the_whole():
    # FIPS 180-4's example, and NIST's empty message.
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(b"a", bytearray(b"b"), memoryview(b"c")).hex() == sha256(b"abc").hex() == abc
    assert sha256().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("v", vectors("rfc4231_hmac_sha256.jsonl"))
def test_hmac_of_rfc_4231(v):
    key, message = bytes.fromhex(v["key"]), bytes.fromhex(v["msg"])
    assert hmac_sha256(key, message).hex() == v["md"]
    assert hmac_sha256(key, message[:3], message[3:]).hex() == v["md"]


@pytest.mark.parametrize("length", [0, 1, 31, 32, 63, 64, 65, 128, 200])
def test_hmac_with_keys_of_every_length(length):
    key, message = rng.randbytes(length), rng.randbytes(length)
    assert hmac_sha256(key, message) == hmac.new(key, message, hashlib.sha256).digest()


def aes(key: bytes):
    return Cipher(AES(key), ECB()).encryptor().update


@pytest.mark.parametrize("v", vectors("sp800_38b_cmac_aes.jsonl"))
def test_cmac_of_sp_800_38b(v):
    key, message = bytes.fromhex(v["key"]), bytes.fromhex(v["message"])
    assert cmac(aes(key), message).hex() == v["output"]


def test_cmac_of_every_length_agrees_with_cryptography():
    for length in range(66):
        key, message = rng.randbytes(16), rng.randbytes(length)
        reference = CMAC(AES(key))
        reference.update(message)
        assert cmac(aes(key), memoryview(message)) == reference.finalize()


def test_constant_time_equal():
    secret = rng.randbytes(32)
    assert constant_time_equal(secret, bytearray(secret))
    assert constant_time_equal(b"", b"")
    for i in range(32):
        for bit in range(8):
            other = bytearray(secret)
            other[i] ^= 1 << bit
            assert not constant_time_equal(secret, other)
    assert not constant_time_equal(secret, secret[:31])
    assert not constant_time_equal(secret, secret + b"\0")
