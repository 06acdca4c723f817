"""Files of the data partition, read and replaced whole. Everything raises OSError when flash fails.

There are two tariff files: the one that a technician or the backend put there, and the last one
that was whole, which an open session may need when the other has been replaced.
"""

import binascii
import hashlib
import os

_TARIFFS = ("/tariff.bin", "/tariff.good")


def read(path):
    """The bytes of a file, or None where there is none."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        if e.args[0] != 2:  # ENOENT
            raise
    return None


def write(path, content):
    """Replaces a file whole or not at all."""
    with open(path + ".new", "wb") as f:
        f.write(content)
    os.rename(path + ".new", path)


def sha256_of(path):
    """SHA-256 of a file in lowercase hex."""
    digest = hashlib.sha256()
    piece = bytearray(512)
    with open(path, "rb") as f:
        while True:
            n = f.readinto(piece)
            if not n:
                return binascii.hexlify(digest.digest()).decode()
            digest.update(memoryview(piece)[:n])


def read_tariffs(folder):
    """(given, kept) as bytes, None where there is none."""
    return [read(folder + name) for name in _TARIFFS]


def keep_tariff(folder, tables):
    """Makes `tables` (bytes, or None) the kept file, unless it is."""
    path = folder + _TARIFFS[1]
    if tables is not None and tables != read(path):
        write(path, tables)
