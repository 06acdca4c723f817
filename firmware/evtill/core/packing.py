"""Usage records as they lie in flash: about 1 kB instead of 2.7 kB, and back to the same bytes.

A JWS is kept as its payload and its 64 signature bytes (base64 only on the wire), without its
header (the same for all of a segment). In the payload, which is ASCII, bytes from 0x80 on stand
for the words below. Whatever does not come back bit for bit that way is kept as it is.
"""

from array import array

from evtill.core.crypto.hashes import sha256
from evtill.core.errors import SignatureError
from evtill.core.jws import (
    b64url_decode,
    compact,
    compact_sha256,
    compact_within,
    room_of,
)

RAW = 0
WORDS_1 = 1

# Part of the format WORDS_1: never changed, only followed by another table under another number.
# Longer ones come before what they hold.
_WORDS = (
    b',\\"RI\\":\\"01-00:B0.08.00*FF\\",\\"RU\\":\\"kWh\\",\\"RT\\":\\"AC\\",\\"EF\\":\\"\\",\\"ST\\":\\"G\\"}\n'
    b']}|{\\"SA\\":\\"ECDSA-secp256r1-SHA256\\",\\"SD\\":\\"30\n'
    b'],"total_energy_wh":\n,"total_time_ms":\n,"total_parking_time_ms":\n'
    b',"total_cost":{"excl_minor":\n,"exact_excl":"\n"},"stop_reason":"\n","flags":[\n'
    b'],"amends":null,"ocmf":"OCMF|{\\"FV\\":\\"1.3\\",\\"GI\\":\\"evtill\\",\\"GS\\":\\"\n'
    b'"},"currency":"EUR","charging_periods":[{"start_date_time":"\n'
    b'Z","dimensions":[{"type":"\n},{"type":"\n}]}\n,{"start_date_time":"\n'
    b',"start_date_time":"\nZ","end_date_time":"\nZ","clock":{"start":"\n","end":"\n'
    b'","duration_ms":\n},"auth_method":"WHITELIST","auth":{"method":"\n","token":"\n'
    b'","assurance":"\n","ref":\n,"ceiling_minor":\n},"meter":{"model":"\n","serial":"\n'
    b'","start_wh":\n,"end_wh":\n},"tariff":{"id":"\n","sha256":"\n'
    b'ENERGY","volume_wh":\nTIME","volume_ms":\nPARKING_\nFLAT","volume":1\n'
    b',"price_micro":\n,"vat_ppm":\n,"excl_minor":\n,"incl_minor":\n'
    b',"seq":\n,"prev":"\n","charger":"\n","firmware":"\n","boot":\n'
    b',\\"IS\\":true,\\"IL\\":\\"HEARSAY\\",\\"IF\\":[\\"RFID_PLAIN\\"],\\"IT\\":\\"LOCAL\\",\\"ID\\":\\"\n'
    b'\\",\\"CT\\":\\"EVSEID\\",\\"CI\\":\\"\n\\",\\"RD\\":[{\\"TM\\":\\"\n,{\\"TM\\":\\"\n'
    b' S\\",\\"TX\\":\\"\n\\",\\"RV\\":\n\\",\\"PG\\":\\"T\n'
    b'\\",\\"GV\\":\\"\n\\",\\"MV\\":\\"Eastron\n'
    b'\\",\\"MM\\":\\"SDM630\n\\",\\"MS\\":\\"\n\\",\\"TT\\":\\"\n\\",\\"CF\\":\\"\n'
    b",000+0\nnull\n0000"
)


def _places():
    """Where each word begins in _WORDS, and where one behind the last would."""
    places = array("H", [0])
    at = _WORDS.find(b"\n")
    while at >= 0:
        places.append(at + 1)
        at = _WORDS.find(b"\n", at + 1)
    places.append(len(_WORDS) + 1)
    return places


def _word(places, byte):
    """The word that `byte` stands for. One at a time: all of them would take 3 kB of heap."""
    return _WORDS[places[byte - 0x80] : places[byte - 0x7F] - 1]


def pack(payload):
    """`payload` (bytes) with words as single bytes; None where it holds others than 0x01-0x7F."""
    out = bytearray(payload)
    for byte in out:
        if not 0 < byte < 0x80:
            return None
    places = _places()
    for code in range(0x80, 0x7F + len(places)):
        word = _word(places, code)
        n = len(word)
        at = out.find(word)
        while at >= 0:
            out[at] = code
            out[at + 1 : at + n] = bytes(n - 1)
            at = out.find(word, at + n)
    n = 0
    for byte in out:
        if byte:
            out[n] = byte
            n += 1
    return memoryview(out)[:n]


def unpack(packed, room=bytearray):
    """What pack() was given, at the end of the bytearray that `room(its length)` makes. packed:
    bytes-like."""
    places = _places()
    n = 0
    for byte in packed:
        n += 1 if byte < 0x80 else places[byte - 0x7F] - places[byte - 0x80] - 1
    out = room(n)
    n = len(out) - n
    for byte in packed:
        if byte < 0x80:
            out[n] = byte
            n += 1
        else:
            word = _word(places, byte)
            out[n : n + len(word)] = word
            n += len(word)
    return out


def split(jws):
    """(form, header segment, parts, SHA-256) of a compact JWS: `parts` are what to keep of it.

    jws: bytes, or (header segment, payload, 64 signature bytes): then the whole is never made."""
    if isinstance(jws, tuple):
        header, payload, signature = jws
        digest = compact_sha256(header, payload, signature)
    else:
        digest = sha256(jws)
        try:
            header, payload, signature = bytes(jws).split(b".")
            signature = b64url_decode(signature)
            payload = b64url_decode(payload)
        except (ValueError, SignatureError):
            signature = b""
        if len(signature) != 64:
            return RAW, b"", (jws,), digest
    packed = pack(payload)
    if packed is None or not _holds(packed, payload):
        return RAW, b"", (compact(header, payload, signature),), digest
    return WORDS_1, header, (signature, packed), digest


def _holds(packed, payload):
    """Whether unpack() would give `payload`, without making it."""
    places = _places()
    n = 0
    for byte in packed:
        if byte < 0x80:
            if payload[n] != byte:
                return False
            n += 1
        else:
            word = _word(places, byte)
            if payload[n : n + len(word)] != word:
                return False
            n += len(word)
    return n == len(payload)


def join(form, header, kept):
    """The JWS (bytes-like) that split() was given; kept: its parts together, bytes-like.

    Raises ValueError for a form that this firmware does not know."""
    if form == RAW:
        return bytes(kept)
    if form != WORDS_1:
        raise ValueError("record form %d" % form)
    # A record of kilobytes is not in memory twice: unpacked where its JWS is to be.
    view = memoryview(kept)
    sizes = []

    def room(n):
        sizes.append(n)
        return room_of(header, n, 64)

    jws = unpack(view[64:], room)
    return compact_within(jws, header, sizes[0], view[:64])
