"""Usage records as they lie in flash: about 1 kB instead of 2.7 kB, and back to the same bytes.

A JWS is kept as its payload and its 64 signature bytes (base64 only on the wire), without its
header (the same for all of a segment). In the payload, which is ASCII, bytes from 0x80 on stand
for the words below. Whatever does not come back bit for bit that way is kept as it is.
"""

from binascii import a2b_base64, b2a_base64

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


def _words():
    return _WORDS.split(b"\n")


def pack(payload):
    """`payload` (bytes) with words as single bytes; None where it holds others than 0x01-0x7F."""
    out = bytearray(payload)
    for byte in out:
        if not 0 < byte < 0x80:
            return None
    code = 0x80
    for word in _words():
        n = len(word)
        at = out.find(word)
        while at >= 0:
            out[at] = code
            out[at + 1 : at + n] = bytes(n - 1)
            at = out.find(word, at + n)
        code += 1
    n = 0
    for byte in out:
        if byte:
            out[n] = byte
            n += 1
    return memoryview(out)[:n]


def unpack(packed):
    """What pack() was given, as a bytearray. packed: bytes-like."""
    words = _words()
    n = 0
    for byte in packed:
        n += 1 if byte < 0x80 else len(words[byte - 0x80])
    out = bytearray(n)
    n = 0
    for byte in packed:
        if byte < 0x80:
            out[n] = byte
            n += 1
        else:
            word = words[byte - 0x80]
            out[n : n + len(word)] = word
            n += len(word)
    return out


def split(jws):
    """(form, header segment, parts) of a compact JWS: `parts` are what to keep of it."""
    try:
        header, payload, signature = bytes(jws).split(b".")
        signature = _decode(signature)
        payload = pack(_decode(payload))
        if len(signature) == 64 and payload is not None:
            if join(WORDS_1, header, signature + bytes(payload)) == jws:
                return WORDS_1, header, (signature, payload)
    except (ValueError, IndexError):
        pass
    return RAW, b"", (jws,)


def join(form, header, kept):
    """The JWS that split() was given; kept: its parts together, bytes-like.

    Raises ValueError for a form that this firmware does not know."""
    if form == RAW:
        return bytes(kept)
    if form != WORDS_1:
        raise ValueError("record form %d" % form)
    view = memoryview(kept)
    payload = unpack(view[64:])
    start = len(header) + 1
    length = (len(payload) * 4 + 2) // 3
    out = bytearray(start + length + 87)
    out[: start - 1] = header
    out[start - 1] = 0x2E
    _encode_into(payload, out, start)
    out[start + length] = 0x2E
    _encode_into(view[:64], out, start + length + 1)
    return bytes(out)


def _encode_into(data, out, at):
    view = memoryview(data)
    for i in range(0, len(view), 192):
        text = b2a_base64(view[i : i + 192])[:-1].replace(b"+", b"-").replace(b"/", b"_")
        text = text.rstrip(b"=")
        out[at : at + len(text)] = text
        at += len(text)


def _decode(text):
    text = text.replace(b"-", b"+").replace(b"_", b"/")
    return a2b_base64(text + b"==="[: -len(text) % 4])
