"""Files of the data partition, read and replaced whole. All raise OSError when flash fails."""

import binascii
import hashlib
import os
import struct


def read(path, most=-1):
    """The bytes of a file, or None where there is none. most: no more than so many and one."""
    try:
        with open(path, "rb") as f:
            return f.read(most if most < 0 else most + 1)
    except OSError as e:
        if e.args[0] != 2:  # ENOENT
            raise
    return None


def write(path, content):
    """Replaces a file whole or not at all."""
    with open(path + ".new", "wb") as f:
        f.write(content)
    os.rename(path + ".new", path)


def slots(path, form):
    """Yields (offset, fields) of each whole slot of a file: its fields, in struct's `form`, and the
    CRC-32 of them (4, little-endian); fields is None of a damaged one. Nothing where there is no
    file."""
    size = struct.calcsize(form)
    at = 0
    try:
        file = open(path, "rb")
    except OSError as e:
        if e.args[0] != 2:  # ENOENT
            raise
        return
    with file:
        while True:
            slot = file.read(size + 4)
            if len(slot) < size + 4:
                return
            data = slot[:size]
            whole = struct.unpack("<I", slot[size:])[0] == binascii.crc32(data)
            yield at, struct.unpack(form, data) if whole else None
            at += size + 4


def put_slot(path, at, form, *fields):
    """Writes a slot at an offset of slots(), or behind the last one; None: the first of a new file.
    LittleFS does it whole or not at all."""
    data = struct.pack(form, *fields)
    with open(path, "wb" if at is None else "r+b") as file:
        file.seek(at or 0)
        file.write(data + struct.pack("<I", binascii.crc32(data)))


def remove(path):
    """Removes a file, if it is there."""
    try:
        os.remove(path)
    except OSError as e:
        if e.args[0] != 2:  # ENOENT
            raise


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
