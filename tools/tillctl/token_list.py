"""Token lists, as core.tokens searches them, out of CSV or OCPI 2.2.1 Tokens."""

import binascii
import csv
import hashlib
import io
import json
import os
import secrets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evtill.core import token_update, tokens
from evtill.core.tokens import TokenListError

from . import artefacts

FLAGS = {"blocked": tokens.BLOCKED, "prepaid": tokens.PREPAID, "free": tokens.FREE,
         "ask": tokens.ASK}  # fmt: skip
COLUMNS = ("uid", "group", "expires", "flags", "ceiling_minor")
UID_BYTES = (4, 7, 8, 10)  # ISO 14443: 4, 7, 10; FeliCa: 8
GROUP_MAX = 36  # bytes: OCPI 2.2.1's CiString(36)
_BITS = (12, 10, 6)  # of group, expiry, ceiling, as long as they do
_NAMES = ("groups", "expiries", "ceilings")


@dataclass(frozen=True)
class Token:
    """What a list says of a card. group: "" is none; expires: Unix seconds."""

    group: str = ""
    flags: int = 0
    expires: int | None = None
    ceiling: int | None = None

    @property
    def flag_names(self) -> list[str]:
        return [name for name, bit in FLAGS.items() if self.flags & bit]


@dataclass
class Source:
    """The cards of a file by UID, and what is remarkable about it."""

    cards: dict[bytes, Token] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


# -- CSV and OCPI ----------------------------------------------------------------------------------


def read_source(path: Path) -> Source:
    """A CSV with COLUMNS, or OCPI 2.2.1 Tokens in JSON. TokenListError names row and column."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TokenListError(f"{path}: neither CSV nor JSON in UTF-8") from None
    try:
        source = _ocpi(text) if text.lstrip()[:1] in ("[", "{") else _csv(text)
    except TokenListError as e:
        raise TokenListError(f"{path}: {e}") from None
    changing = sum(len(uid) == 4 and uid[0] == 8 for uid in source.cards)
    if changing:
        source.notes.append(f"{changing} UIDs of 4 bytes begin with 08: such cards (phones too) "
                            "show another one at each tap")  # fmt: skip
    return source


def _csv(text: str) -> Source:
    if not text.strip() or _is_uid(text.split(maxsplit=1)[0]):
        text = "uid\n" + text  # nothing but UIDs, one a line
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    names = [(name or "").strip() for name in rows.fieldnames or []]
    if "uid" not in names:
        raise TokenListError(f"row 1: no column uid; columns: {', '.join(COLUMNS)}")
    for name in names:
        if name not in COLUMNS:
            raise TokenListError(f"row 1: unknown column {name!r}; columns: {', '.join(COLUMNS)}")
    rows.fieldnames = names
    source = Source()
    seen: dict[bytes, str] = {}
    try:
        for row in rows:
            where = f"row {rows.line_num}"
            if None in row:
                raise TokenListError(f"{where}: more cells than columns")
            cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
            if not any(cells.values()):
                continue
            _add(source, seen, where, cells["uid"], "uid", lambda c=cells: Token(
                _group(c["group"]), _flags(c["flags"]), _expires(c["expires"]),
                _ceiling(c["ceiling_minor"])))  # fmt: skip
    except csv.Error as e:
        raise TokenListError(f"row {rows.line_num}: {e}") from None
    return source


def _add(source: Source, seen: dict, where: str, uid: str, column: str, make: Any) -> None:
    """Adds one card. The cell parsers' ValueError(column, why) becomes a line with the row."""
    try:
        raw = parse_uid(uid)
        token = make()
    except TokenListError as e:
        raise TokenListError(f"{where}, {column}: {e}") from None
    except _CellError as e:
        raise TokenListError(f"{where}, {e}") from None
    if source.cards.setdefault(raw, token) != token:
        raise TokenListError(f"{where}, {column}: {uid} stands in {seen[raw]} with other values")
    seen.setdefault(raw, where)


class _CellError(ValueError):
    """column: why."""


def parse_uid(text: str) -> bytes:
    """The bytes of a UID in hex, as most tools write it. Raises TokenListError."""
    try:
        raw = bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        raw = b""
    if len(raw) not in UID_BYTES:
        raise TokenListError(f"{text!r} is not a card UID: 4, 7, 8 or 10 bytes in hex expected")
    return raw


def _is_uid(text: str) -> bool:
    try:
        return bool(parse_uid(text))
    except TokenListError:
        return False


def _group(text: str) -> str:
    if len(text.encode()) > GROUP_MAX or "\0" in text:
        raise _CellError(f"group: {text[:40]!r} is longer than {GROUP_MAX} bytes")
    return "" if text == "0" else text


def _flags(text: str) -> int:
    flags = 0
    for name in text.lower().replace(",", " ").replace("|", " ").replace(";", " ").split():
        if name not in FLAGS:
            raise _CellError(f"flags: {name!r} is none of {', '.join(FLAGS)}")
        flags |= FLAGS[name]
    return flags


def _expires(text: str) -> int | None:
    """A date is the last day (UTC) on which the card may charge; a time is the first moment at
    which it may not."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _CellError(
            f"expires: {text!r} is neither a date (2027-12-31) nor a time (2027-12-31T18:00:00Z)"
        ) from None
    if len(text) == 10:
        at += timedelta(days=1)
    elif at.tzinfo is None:
        raise _CellError(f"expires: {text!r} is without its time zone, such as Z")
    unix_s = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    if not 0 < unix_s < 1 << 32:
        raise _CellError(f"expires: {text!r} is out of range (1970 to 2106)")
    return unix_s


def _ceiling(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) >= 1 << 32:
        raise _CellError(f"ceiling_minor: {text!r} is not a whole number of cents or the like")
    return int(text)


def _ocpi(text: str) -> Source:
    source = Source()
    seen: dict[bytes, str] = {}
    others = never = 0
    for where, token in ocpi_tokens(text):
        if token["type"] != "RFID":
            others += 1
        elif token["valid"] and token["whitelist"] == "NEVER":
            never += 1
        else:
            _add(source, seen, where, token["uid"], "uid", lambda t=token: ocpi_meaning(t))
    if others:
        source.notes.append(f"{others} tokens are no cards: left out")
    if never:
        source.notes.append(f"{never} valid cards with whitelist NEVER are left to the backend")
    return source


def ocpi_tokens(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, object) of each OCPI Token (2.2.1, 12.3.2) in a list of them, or a response with
    `data`; those of their properties that decide who may charge are checked. TokenListError."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise TokenListError(f"not JSON: {e}") from None
    if isinstance(found, dict):
        found = found.get("data", [found])
    if not isinstance(found, list):
        raise TokenListError("not a list of OCPI tokens")
    for i, token in enumerate(found):
        where = f"token {i + 1}"
        if not isinstance(token, dict):
            raise TokenListError(f"{where}: not an object")
        for name, kind in (("uid", str), ("type", str), ("valid", bool), ("whitelist", str)):
            if not isinstance(token.get(name), kind):
                raise TokenListError(f"{where}, {name}: missing, or not of OCPI 2.2.1's type")
        group = token.get("group_id") or ""
        if not isinstance(group, str):
            raise TokenListError(f"{where}, group_id: not a string")
        try:
            _group(group)
        except _CellError as e:
            raise TokenListError(f"{where}, {e}") from None
        if token["whitelist"] not in _WHITELIST:
            raise TokenListError(f"{where}, whitelist: {token['whitelist']!r} is none of "
                                 f"{', '.join(_WHITELIST)}")  # fmt: skip
        yield where, token


def ocpi_meaning(token: dict[str, Any]) -> Token:
    """What a list says of a card with this Token of ocpi_tokens()."""
    flags = _WHITELIST[token["whitelist"]] if token["valid"] else tokens.BLOCKED
    return Token(_group(token.get("group_id") or ""), flags)


_WHITELIST = {"ALWAYS": 0, "ALLOWED": 0, "ALLOWED_OFFLINE": tokens.ASK, "NEVER": 0}


def block(cards: dict[bytes, Token], blocked: Iterable[bytes]) -> None:
    """Blocks these UIDs, in the list or not: a block list always wins."""
    for uid in blocked:
        was = cards.get(uid, Token())
        cards[uid] = Token(was.group, was.flags | tokens.BLOCKED, was.expires, was.ceiling)


# -- the file --------------------------------------------------------------------------------------


@dataclass
class Listed:
    """A whole token list. tables: the values that groups, expiries and ceilings have."""

    entries: dict[bytes, Token]
    tables: tuple[list, list, list]
    bits: tuple[int, int, int]
    whose: bytes

    @classmethod
    def decode(cls, data: bytes) -> "Listed":
        """The list in the file `data`, with every byte checked. Raises TokenListError."""
        found = tokens.TokenList(lambda offset, n: data[offset : offset + n])
        if len(data) != found.size:
            raise TokenListError(f"token list of {len(data)} bytes, not {found.size}")
        if binascii.crc32(data[tokens.HEADER :]) != found.crc:
            raise TokenListError("token list damaged: wrong CRC")
        groups, expiries, _ = found.tables
        at = tokens.HEADER + groups * found.width
        names = [data[i : i + found.width].rstrip(b"\0").decode()
                 for i in range(tokens.HEADER, at, found.width or 1)]  # fmt: skip
        numbers = [n for (n,) in struct.iter_unpack("<I", data[at : found.entries])]
        entries = {}
        last = b""
        for token, word in struct.iter_unpack("<8sI", data[found.entries :]):
            if token <= last:
                raise TokenListError("token list damaged: order")
            last = token
            group, flags, expires, ceiling = found._meaning(word)
            entries[token] = Token(group or "", flags, expires, ceiling)
        return cls(entries, (names, numbers[:expiries], numbers[expiries:]), found.bits,
                   data[20:28])  # fmt: skip

    def words(self) -> Iterator[tuple[bytes, int]]:
        """(token, word) of each entry, in order."""
        places = [{value: i + 1 for i, value in enumerate(table)} for table in self.tables]
        for token in sorted(self.entries):
            t = self.entries[token]
            word = places[0][t.group] if t.group else 0
            word = word << self.bits[1] | (0 if t.expires is None else places[1][t.expires])
            word = word << self.bits[2] | (0 if t.ceiling is None else places[2][t.ceiling])
            yield token, word << tokens.FLAG_BITS | t.flags

    def head(self) -> bytes:
        """Header without its CRCs, and the tables."""
        names = [name.encode() for name in self.tables[0]]
        width = max(map(len, names), default=0)
        counts = [len(table) for table in self.tables]
        head = struct.pack("<5s3BI3HBx8s", tokens.MAGIC, *self.bits, len(self.entries), *counts,
                           width, self.whose)  # fmt: skip
        numbers = [*self.tables[1], *self.tables[2]]
        return head + b"".join(name.ljust(width, b"\0") for name in names) + struct.pack(
            f"<{len(numbers)}I", *numbers
        )

    def encode(self) -> bytes:
        """The file."""
        head = self.head()
        fixed = tokens.HEADER - 8
        body = head[fixed:] + b"".join(
            token + word.to_bytes(4, "little") for token, word in self.words()
        )
        start = head[:fixed] + struct.pack("<I", binascii.crc32(body))
        return start + struct.pack("<I", binascii.crc32(start)) + body


def build(cards: dict[bytes, Token], key: bytes, after: Listed | None = None) -> Listed:
    """The list of the cards under a charger's key.

    after: an earlier list whose tables are kept, so that unchanged entries stay as they are and a
    delta is small. TokenListError, with the reason, for what does not fit."""
    if len(cards) > tokens.MAX_TOKENS:
        raise TokenListError(f"{len(cards)} tokens: at most {tokens.MAX_TOKENS}")
    whose = tokens.whose(key)
    if after and after.whose != whose:
        raise TokenListError("the earlier list was made under another key")
    entries = {tokens.token_of(key, uid): token for uid, token in cards.items()}
    if len(entries) != len(cards):
        raise TokenListError("two cards have the same hash: make another key")
    tables = after.tables if after else ([], [], [])
    tables = (
        _grown(tables[0], {t.group for t in entries.values()} - {""}),
        _grown(tables[1], {t.expires for t in entries.values()} - {None}),
        _grown(tables[2], {t.ceiling for t in entries.values()} - {None}),
    )
    return Listed(entries, tables, _bits(tables, after.bits if after else _BITS), whose)


def _grown(table: list, values: set) -> list:
    return [*table, *sorted(values - set(table))]


def _bits(tables: tuple[list, list, list], usual: tuple[int, ...]) -> tuple[int, int, int]:
    """How the 28 bits of a word are shared out: as usual, or as the tables need it."""
    # The last group of all ones would make the word that a delta removes by.
    need = [(len(table) + (i == 0)).bit_length() for i, table in enumerate(tables)]
    if all(n <= bits for n, bits in zip(need, usual, strict=True)):
        return usual[0], usual[1], usual[2]
    spare = 32 - tokens.FLAG_BITS - sum(need)
    if spare < 0 or max(need) > 16:
        said = ", ".join(f"{len(t)} {name} ({n} bits)"
                         for t, name, n in zip(tables, _NAMES, need, strict=True))  # fmt: skip
        raise TokenListError(
            f"{said} do not fit into {32 - tokens.FLAG_BITS} bits an entry: round expiries to "
            "months or ceilings to whole amounts"
        )
    return min(16, need[0] + spare), need[1] + max(0, need[0] + spare - 16), need[2]


def read_list(path: Path) -> Listed:
    """The list in a file, signed or not. Raises TokenListError with its name, OSError."""
    try:
        return Listed.decode(artefacts.split(path.read_bytes())[1])
    except (TokenListError, UnicodeDecodeError) as e:
        raise TokenListError(f"{path}: {e}") from None


def diff(old: bytes, new: bytes) -> bytes:
    """The delta (core.token_update) that makes the list `new` of the list `old`. Raises
    TokenListError."""
    before, after = Listed.decode(old), Listed.decode(new)
    if before.whose != after.whose:
        raise TokenListError("the lists were made under different keys")
    was, now = dict(before.words()), dict(after.words())
    changes = {token: word for token, word in now.items() if was.get(token) != word}
    changes |= dict.fromkeys(was.keys() - now.keys(), tokens.GONE)
    head = new[: len(new) - tokens.ENTRY * len(now)]
    return (
        token_update.DELTA + hashlib.sha256(old).digest() + hashlib.sha256(new).digest()
        + struct.pack("<II", len(head), len(changes)) + head
        + b"".join(token + changes[token].to_bytes(4, "little") for token in sorted(changes))
    )  # fmt: skip


# -- the key ---------------------------------------------------------------------------------------


def read_key(path: Path, make: bool = False) -> bytes:
    """The 32 bytes of a key file: hex, or what `tillctl provision` left. TokenListError.

    make: makes it, readable for its owner alone, where there is none."""
    if make:
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
                f.write(secrets.token_hex(32) + "\n")
        except FileExistsError:
            pass
    text = path.read_bytes().strip()
    try:
        if text[:1] == b"{":
            text = json.loads(text)["token_key"].encode()
        key = bytes.fromhex(text.decode())
    except (ValueError, KeyError, TypeError, AttributeError):
        key = b""
    if len(key) != 32:
        raise TokenListError(f"{path}: not a token key: 32 bytes in hex expected")
    return key
