"""A language as it lies in flash, bounded and checked when it is read.

| offset | bytes | what |
| --- | --- | --- |
| 0 | 4 | "EVL", version: 1 |
| 4 | 2 | the language, ISO 639-1 |
| 6 | 1 | the decimal mark: "," or "." |
| 7 | 1 | "1": the euro and the pound by their symbols, else "0" |
| 8 | | texts, each: its key (core.language), UTF-8, 0x7F |
| | 4 | CRC-32 of all before it, little-endian |
"""

import binascii
import struct

from evtill.core.errors import LanguageError
from evtill.core.language import Language

MAX_BYTES = 4096
_MAGIC = b"EVL\x01"
_HEADER = 8
# A letter in 2 bytes of UTF-8, then what stands for it where a display lacks it.
_FOLDS = (
    "ÀA ÁA ÂA ÄAe ÇC ÈE ÉE ÊE ËE ÍI ÎI ÏI ÑN ÓO ÔO ÖOe ÙU ÚU ÛU ÜUe ßss àa áa âa äae çc èe ée êe "
    "ëe íi îi ïi ñn óo ôo öoe ùu úu ûu üue ¡! ¿? °o"
)


def pack(code, comma, symbols, texts):
    """A language file. code: ISO 639-1; texts: (key, UTF-8) of each."""
    head = _MAGIC + code.encode() + (b"," if comma else b".") + (b"1" if symbols else b"0")
    data = head + b"".join([key + text + b"\x7f" for key, text in texts])
    return data + struct.pack("<I", binascii.crc32(data))


def parse(data, glyphs):
    """The Language of a file, for a display that has the letters `glyphs` beside ASCII. Raises
    LanguageError."""
    if data[:4] != _MAGIC or not _HEADER + 4 <= len(data) <= MAX_BYTES:
        raise LanguageError("not a language file")
    if struct.pack("<I", binascii.crc32(memoryview(data)[:-4])) != data[-4:]:
        raise LanguageError("the language file is damaged")
    symbols = "".join([c for c in ("€", "£") if c in glyphs]) if data[7:8] == b"1" else ""
    return Language(fold(data[_HEADER:-4], glyphs), data[6:7] == b",", symbols)


def fold(data, glyphs):
    """`data` (UTF-8) without letters beside ASCII that are not among `glyphs` (text)."""
    has = glyphs.encode()
    for pair in _FOLDS.encode().split(b" "):
        if pair[:2] not in has:
            data = data.replace(pair[:2], pair[2:])
    return data
