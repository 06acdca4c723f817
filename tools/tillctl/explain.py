"""Which bytes of a record that fails are not as signed, as far as that can be known.

A signature tells that something was changed, not what. What can tell where: another copy that
verifies; the OCMF string, which is signed on its own and says part of the same; a header that can
only be one; the hash of the record before. And a change so small that undoing it can be tried."""

import contextlib
import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from evtill.core import jws, record_check
from evtill.core.errors import EvtillError
from evtill.core.text import civil, quote
from tillctl.public_key import OpenSsl, PublicKey

Span = tuple[int, int]
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
_SCALAR = re.compile(r"-?[0-9]+|true|false|null")
_OCMF = b'"ocmf":"OCMF|'
_SHOWN = 6  # changes
_COMPARED = 10**6  # pairs of bytes
_TRIES = 40000  # signatures, each 50 us; a usual record needs half of them
_NEAR = 4  # bytes: changes no further apart are shown as one


def explain(
    published: bytes, key: PublicKey, copies: Sequence[bytes] = (), prev: str | None = None
) -> list[str]:
    """Lines about a JWS whose signature does not verify with `key`.

    copies: other records, among which one may be the same before it was changed. prev: the hash
    (64 hex) of the record before it, where that is known. May take two seconds."""
    parts = _parts(published)
    if len(parts) != 3:
        said = [f"it is {len(parts)} parts with dots between, a JWS is three"]
    else:
        said = _coverage(published, parts, key)
    best = _copy_of(published, key, copies)
    if best is not None:
        return [*said, "beside a copy that is as signed:", *differences(published, best)]
    hints = _hints(published, key, prev)
    repaired = _repaired(published, key, hints)
    if repaired is not None:
        undone = "with this put back, everything is as signed:"
        return [*said, undone, *differences(published, repaired)]
    said += [f"contradicts what is signed in the OCMF string: {path}" for path, _ in hints]
    return [*said, "another key signed it, or more bytes were changed than trying can find; which "
            "ones, only a copy that is as signed can tell (--against)"]  # fmt: skip


def differences(published: bytes, signed: bytes) -> list[str]:
    """Each range of bytes in which `published` is not the `signed` JWS, in words."""
    said = []
    mine, theirs = _parts(published), _parts(signed)
    if len(mine) != 3:
        return [_change("byte", published, signed, *span) for span in _changed(published, signed)]
    for name, (a, b), (c, d) in zip(("header", "payload", "signature"), mine, theirs, strict=True):
        one, other = published[a:b], signed[c:d]
        if one == other:
            continue
        raw, good = _decoded(one), jws.b64url_decode(other)
        if raw is None or name == "signature":
            for span in _changed(one, other):
                said.append(_change(f"{name}, byte", one, other, *span, shift=a))
            continue
        for old, new in _changed(raw, good):
            start, end = old[0] * 4 // 3 + a, -(-max(old[1], old[0] + 1) * 4 // 3) + a - 1
            where = f" (bytes {start} to {end} of the JWS)"
            field = f": {_path_at(good, new)}" if name == "payload" else ""
            said.append(_change(f"{name}, byte", raw, good, old, new) + where + field)
    left = len(said) - _SHOWN
    return said[:_SHOWN] + ([f"and {left} more ranges"] if left > 0 else [])


def spans(text: str) -> dict[str, Span]:
    """{path: (start, end)} of every scalar in compact JSON, as far as it can be read."""
    found: dict[str, Span] = {}
    with contextlib.suppress(ValueError, IndexError, AttributeError, RecursionError):
        _walk(text, 0, "", found)  # what stands before the damage was found
    return found


def _walk(text: str, at: int, path: str, found: dict[str, Span]) -> int:
    """The end of the value at `at`."""
    opened = text[at]
    if opened not in "{[":
        scalar = _SCALAR.match(text, at)
        end = scanstring(text, at + 1)[1] if opened == '"' else scalar.end()  # type: ignore[union-attr]
        found[path] = (at, end)
        return end
    at += 1
    number = 0
    while text[at] not in "]}":
        name = f"{path}[{number}]"
        if opened == "{":
            key, at = scanstring(text, at + 1)
            name, at = f"{path}.{key}".lstrip("."), at + 1  # behind the colon
        at = _walk(text, at, name, found)
        at += text[at] == ","
        number += 1
    return at + 1


def _parts(published: bytes) -> list[Span]:
    spans, at = [], 0
    for part in published.split(b"."):
        spans.append((at, at + len(part)))
        at += len(part) + 1
    return spans


def _decoded(part: bytes) -> bytes | None:
    try:
        return jws.b64url_decode(part)
    except EvtillError:
        return None


def _coverage(published: bytes, parts: list[Span], key: PublicKey) -> list[str]:
    """What each of the two signatures covers, and what is known to be right."""
    (_, h), (a, b), (c, d) = parts
    said = [f"the JWS signature is over bytes 0 to {b - 1} (header to {h - 1}, payload from {a}), "
            f"and is itself bytes {c} to {d - 1}"]  # fmt: skip
    is_usual = published[:h] == jws.es256_header(jws.USAGE, key.kid)
    said.append("the header is exactly that of this key's records" if is_usual else
                "the header is not that of this key's records")  # fmt: skip
    payload = _decoded(published[a:b])
    if payload is None:
        return [*said, "the payload is not base64url"]
    body = _ocmf_body(payload)
    if body is None:
        return [*said, "no OCMF string can be found in the payload"]
    where = f"payload bytes {body[0]} to {body[1] - 1} (bytes {body[0] * 4 // 3 + a} to " \
            f"{-(-body[1] * 4 // 3) + a - 1} of the JWS)"  # fmt: skip
    if _ocmf(payload, key) is None:
        return [*said, f"the OCMF string, {where}, is not as signed either"]
    return [*said, f"the OCMF string's signature is over {where}: they are as signed, so the "
            "readings, times, meter and driver in them stand"]  # fmt: skip


def _ocmf_body(payload: bytes) -> Span | None:
    """Where, in the payload, the OCMF string's signed bytes stand."""
    at = payload.find(_OCMF) + len(_OCMF)
    end = payload.find(b"|", at)
    return (at, end) if at >= len(_OCMF) and end > 0 else None


def _ocmf(payload: bytes, key: PublicKey) -> dict[str, Any] | None:
    """The OCMF string's facts if it is as signed."""
    body = _ocmf_body(payload)
    if body is None:
        return None
    try:
        text, _ = scanstring(payload.decode("ascii"), body[0] - len("OCMF|"))
        signed, found, der = record_check.parse_ocmf(text)
    except (EvtillError, ValueError):
        return None
    return found if key.is_signed(signed, der) else None


def _copy_of(published: bytes, key: PublicKey, copies: Sequence[bytes]) -> bytes | None:
    """The copy that verifies and has the same signature, or else is the most like `published` if
    they are more alike than not."""
    best, most = None, len(published) // 2
    for copy in copies:
        if copy[-86:] == published[-86:] and copy != published and _verifies(copy, key):
            return copy
        same = sum(x == y for x, y in zip(copy, published, strict=False))
        same = max(same, sum(x == y for x, y in zip(copy[::-1], published[::-1], strict=False)))
        if same > most and copy != published and _verifies(copy, key):
            best, most = copy, same
    return best


def _verifies(published: bytes, key: PublicKey) -> bool:
    try:
        jws.es256_verify(published, jws.USAGE, key.point, OpenSsl())
    except EvtillError:
        return False
    return True


def _hints(published: bytes, key: PublicKey, prev: str | None) -> list[tuple[str, str]]:
    """(path, JSON literal) of what must have stood in the payload where it now says otherwise."""
    parts = _parts(published)
    payload = _decoded(published[slice(*parts[1])]) if len(parts) == 3 else None
    if payload is None or not payload.isascii():
        return []
    text = payload.decode()
    found = _ocmf(payload, key)
    wanted: dict[str, str] = {"prev": f'"{prev}"'} if prev else {}
    if found is not None:
        begin, end = found["RD"]
        wanted |= {
            "charger": quote(found["CI"]), "firmware": quote(found["GV"]),
            "meter.serial": quote(found["MS"]), "meter.start_wh": str(begin["wh"]),
            "meter.end_wh": str(end["wh"]), "total_energy_wh": str(end["wh"] - begin["wh"]),
            "start_date_time": f'"{civil(begin["unix_s"])}Z"',
            "end_date_time": f'"{civil(end["unix_s"])}Z"',
        }  # fmt: skip
        if found["IT"] == "LOCAL":
            wanted["auth.token"] = quote(found["ID"])
    at = spans(text)
    return [(path, literal) for path, literal in wanted.items()
            if path in at and text[slice(*at[path])] != literal]  # fmt: skip


def _repaired(published: bytes, key: PublicKey, hints: list[tuple[str, str]]) -> bytes | None:
    """`published` with a small change undone so that it verifies."""
    parts = _parts(published)
    if len(parts) != 3:
        flipped = (one for one in _flipped(published) if one.count(b".") == 2)
        return next((one for one in flipped if _verifies(one, key)), None)
    usual = jws.es256_header(jws.USAGE, key.kid) + published[parts[0][1] :]
    for candidate in (usual, *_hinted(published, parts, hints)):
        if _verifies(candidate, key):
            return candidate
    found = _signature_repaired(published, parts, key)
    signature = _decoded(published[slice(*parts[2])])
    if found is None and signature is not None and len(signature) == 64:
        return _signed_repaired(published, parts, key, signature)
    return found


def _hinted(published: bytes, parts: list[Span], hints: list[tuple[str, str]]) -> Iterator[bytes]:
    """Each hint followed alone, then all of them."""
    (_, h), (a, b), _ = parts
    if not hints:
        return
    text = jws.b64url_decode(published[a:b]).decode()
    at = spans(text)
    for chosen in (*([hint] for hint in hints), hints):
        changed = text
        for path, literal in sorted(chosen, key=lambda hint: -at[hint[0]][0]):
            start, end = at[path]
            changed = changed[:start] + literal + changed[end:]
        yield published[: h + 1] + jws.b64url_encode(changed.encode()) + published[b:]


def _flipped(published: bytes) -> Iterator[bytes]:
    for at, byte in enumerate(published):
        for bit in range(8):
            if byte ^ 1 << bit in _ALPHABET:
                yield published[:at] + bytes((byte ^ 1 << bit,)) + published[at + 1 :]


def _signature_repaired(published: bytes, parts: list[Span], key: PublicKey) -> bytes | None:
    """With one bit of the signature's text flipped."""
    start = parts[2][0]
    digest = hashlib.sha256(published[: start - 1]).digest()
    for flipped in _flipped(published[start:]):
        signature = _decoded(flipped)
        if signature is not None and _is_signed(key, digest, signature):
            return published[:start] + flipped
    return None


def _signed_repaired(
    published: bytes, parts: list[Span], key: PublicKey, signature: bytes
) -> bytes | None:
    """With one bit of what is signed flipped, or one digit of the payload another one."""
    end = parts[1][1]
    tried = itertools.chain(_flipped_signed(published[:end]), _other_digits(published, parts))
    for signed, digest in itertools.islice(tried, _TRIES):
        if _is_signed(key, digest, signature):
            return signed + published[end:]
    return None


def _flipped_signed(signed: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What may have been signed, and its SHA-256."""
    before = hashlib.sha256()
    for at, byte in enumerate(signed):
        for bit in range(8):
            other = byte ^ 1 << bit
            if other in _ALPHABET:
                flipped = bytes((other,)) + signed[at + 1 :]
                digest = before.copy()
                digest.update(flipped)
                yield signed[:at] + flipped, digest.digest()
        before.update(bytes((byte,)))


def _other_digits(published: bytes, parts: list[Span]) -> Iterator[tuple[bytes, bytes]]:
    header, payload = published[: parts[0][1] + 1], _decoded(published[slice(*parts[1])]) or b""
    for at, byte in enumerate(payload):
        for other in b"0123456789" if chr(byte).isdigit() else b"":
            changed = payload[:at] + bytes((other,)) + payload[at + 1 :]
            signed = header + jws.b64url_encode(changed)
            yield signed, hashlib.sha256(signed).digest()


def _is_signed(key: PublicKey, digest: bytes, signature: bytes) -> bool:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return len(signature) == 64 and key.verify(digest, r, s)


def _changed(mine: bytes, theirs: bytes) -> list[tuple[Span, Span]]:
    """Ranges that differ, of mine and of theirs; those less than _NEAR apart as one."""
    if len(mine) == len(theirs):
        differ = (i for i in range(len(mine)) if mine[i] != theirs[i])
        found = [((i, i + 1), (i, i + 1)) for i in differ]
    else:
        found = _ranges(mine, theirs)
    runs: list[tuple[Span, Span]] = []
    for (a, b), (c, d) in found:
        if runs and a - runs[-1][0][1] < _NEAR:
            (first, _), (other, _) = runs.pop()
            runs.append(((first, b), (other, d)))
        else:
            runs.append(((a, b), (c, d)))
    return runs


def _ranges(mine: bytes, theirs: bytes) -> list[tuple[Span, Span]]:
    """Ranges that differ between first and last difference; all of that as one where it is much."""
    most = min(len(mine), len(theirs))
    start = next((i for i in range(most) if mine[i] != theirs[i]), most)
    end = next((i for i in range(most - start) if mine[-1 - i] != theirs[-1 - i]), most - start)
    a, b = mine[start : len(mine) - end], theirs[start : len(theirs) - end]
    if len(a) * len(b) > _COMPARED:
        return [((start, start + len(a)), (start, start + len(b)))]
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    return [
        ((i + start, j + start), (k + start, m + start))
        for kind, i, j, k, m in matcher.get_opcodes() if kind != "equal"
    ]  # fmt: skip


def _change(
    name: str, mine: bytes, theirs: bytes, old: Span, new: Span, shift: int = 0
) -> str:
    (a, b), (c, d) = old, new
    where = f"{name} {a + shift}" if b - a == 1 else f"{name}s {a + shift} to {b + shift - 1}"
    if a == b:
        where = f"{name} {a + shift}, before it"
    return f"{where}: is {_shown(mine[a:b])}, signed was {_shown(theirs[c:d])}"


def _shown(data: bytes) -> str:
    text = ascii(data.decode("latin-1"))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _path_at(payload: bytes, span: Span) -> str:
    """The field of the (good) payload that a range of its bytes is in."""
    text = payload.decode("ascii", "replace")
    start, end = span if span[0] < span[1] else (span[0] - 1, span[0] + 1)
    inside = [path for path, (a, b) in spans(text).items() if a < end and start < b]
    if inside == ["ocmf"]:
        bars = text.count("|", 0, span[0]) - text.count("|", 0, text.find('"OCMF|'))
        return ("ocmf", "ocmf, its signed part", "ocmf, its signature")[min(bars, 2)]
    return ", ".join(inside[:3]) or "between the values"

