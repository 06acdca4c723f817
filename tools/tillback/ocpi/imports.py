"""OCPI 2.2.1 files into the database: tokens, tariffs, and where a charger stands."""

import copy
import json
import zoneinfo
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evtill.core import tokens
from evtill.core.errors import ConfigError, TariffError
from evtill.core.tariff import Tariff
from evtill.core.tokens import TokenListError
from tillback import tariffs
from tillback.db import tables
from tillback.db.database import Database, now
from tillback.ocpi.cdr import cdr_location
from tillback.ocpi.objects import faults
from tillctl import token_list
from tillctl.tariff_compile import compile_tariff

_FROM_OCPI = {"blocked", "ask"}  # flags that an OCPI Token decides


@dataclass(frozen=True)
class Outcome:
    """How many objects of a file were new, changed what was there, or stood there already."""

    added: int = 0
    changed: int = 0
    same: int = 0

    def __str__(self) -> str:
        return f"{self.added} added, {self.changed} changed, {self.same} as they were"


def add_tokens(database: Database, file: Path, key: bytes) -> Outcome:
    """Tokens by the hash of their UID under `key`, all of the file or none. Other tokens than cards
    are hashed by the characters of their uid. Raises ConfigError, TokenListError."""
    found: dict[str, dict[str, Any]] = {}
    try:
        for where, one in token_list.ocpi_tokens(_text(file)):
            if wrong := faults("Token", one):
                raise TokenListError(f"{where}, {wrong[0]}")
            token = _token_of(key, one, where)
            if found.setdefault(token, one) != one:
                raise TokenListError(f"{where}, uid: {one['uid']} stands twice, with other values")
    except TokenListError as error:
        raise TokenListError(f"{file}: {error}") from None
    counts = {"added": 0, "changed": 0, "same": 0}
    with database.write() as session:
        for token, one in found.items():
            row = session.get(tables.Token, token)
            text = json.dumps(one)
            if row is None:
                row = tables.Token(token=token, account=None, flags="", expires_at=None,
                                   ceiling_minor=None, added_at=now())  # fmt: skip
                session.add(row)
                counts["added"] += 1
            else:
                counts["same" if row.ocpi == text else "changed"] += 1
            meaning = token_list.ocpi_meaning(one)
            row.uid, row.ocpi, row.group = one["uid"], text, meaning.group or None
            flags = (set(row.flags.split()) - _FROM_OCPI) | set(meaning.flag_names)
            row.flags = " ".join(name for name in token_list.FLAGS if name in flags)
    return Outcome(**counts)


def add_tariffs(
    database: Database, file: Path, timezone: str, year: int | None = None
) -> tuple[list[Tariff], int]:
    """Tariffs by the hash of their compact tables, all of the file or none: (the tables, how many
    records have waited for them and are billed now). `year`: as `tillctl tariff compile` takes it.
    Raises ConfigError, TariffError."""
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"--timezone: {timezone[:64]!a} is none of IANA's") from None
    sources, made = [], []
    for where, one in _objects(file, "tariff"):
        if wrong := faults("Tariff", one):
            raise TariffError(f"{file}: {where}, {wrong[0]}")
        try:
            made.append(compile_tariff(one, timezone, year))
        except TariffError as error:
            raise TariffError(f"{file}: {where}, {error}") from None
        sources.append(one)
    return tariffs.add_tariff(database, b"".join(made), sources)


def set_location(
    database: Database, file: Path, charger: str, evse: str | None = None,
    connector: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Says where a charger stands: the Location of the file whose EVSE has `evse` as its uid, or
    the charger's id as its evse_id or uid; or the only one. Returns its CdrLocation. Raises
    ConfigError."""
    places = []
    for where, one in _objects(file, "location"):
        if wrong := faults("Location", one):
            raise ConfigError(f"{file}: {where}, {wrong[0]}")
        places += [(one, each) for each in one["evses"]]
    location, its_evse = _pick_evse(places, charger, evse, file)
    its_connector = _pick_connector(its_evse, connector, file)
    location = copy.deepcopy(location)
    location["evses"] = [{"evse_id": charger} | its_evse | {"connectors": [its_connector]}]
    found = cdr_location(location)
    if wrong := faults("CdrLocation", found):  # it has less room than a Location
        raise ConfigError(f"{file}: fits no CDR: {wrong[0]}")
    with database.write() as session:
        if session.get(tables.Charger, charger) is None:
            raise ConfigError(f"{charger} is not registered")
        session.merge(tables.Location(charger=charger, ocpi=json.dumps(location)))
    return found


def _pick_evse(
    places: list[tuple[dict[str, Any], dict[str, Any]]], charger: str, evse: str | None, file: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    if evse is not None:
        fitting = [(one, each) for one, each in places if _plain(each["uid"]) == _plain(evse)]
    else:
        names = ("evse_id", "uid")
        fitting = [
            (one, each) for one, each in places
            if any(_plain(each.get(name)) == _plain(charger) for name in names)
        ] or places  # fmt: skip
    if len(fitting) == 1:
        return fitting[0]
    if evse is not None:
        raise ConfigError(f"{file}: {len(fitting)} EVSEs with uid {evse}")
    uids = ", ".join(each["uid"] for _, each in fitting[:8])
    raise ConfigError(f"{file}: {len(fitting)} EVSEs, none of them {charger}; --evse is one of "
                      f"{uids}")  # fmt: skip


def _pick_connector(evse: dict[str, Any], wanted: str | None, file: Path) -> dict[str, Any]:
    fitting: list[dict[str, Any]] = [
        one for one in evse["connectors"] if wanted is None or _plain(one["id"]) == _plain(wanted)
    ]
    if len(fitting) == 1:
        return fitting[0]
    ids = ", ".join(one["id"] for one in evse["connectors"][:8])
    raise ConfigError(f"{file}: the EVSE's connectors are {ids}; --connector is one of them")


def _plain(name: str | None) -> str:
    """An id to compare by: whatever its case, and eMI3's separators or none."""
    return (name or "").upper().replace("*", "").replace("-", "")


def _token_of(key: bytes, token: dict[str, Any], where: str) -> str:
    try:
        raw = token["uid"].encode()
        uid = token_list.parse_uid(token["uid"]) if token["type"] == "RFID" else raw
    except TokenListError as error:
        raise TokenListError(f"{where}, uid: {error}") from None
    return bytes(tokens.token_of(key, uid)).hex()


def _objects(file: Path, kind: str) -> list[tuple[str, dict[str, Any]]]:
    """(where, object) of a JSON file: an object, a list of them, or an OCPI response."""
    try:
        found = json.loads(_text(file), object_hook=_given, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ConfigError(f"{file}: not JSON") from None
    if isinstance(found, dict):
        found = found.get("data", found)
    listed = found if isinstance(found, list) else [found]
    if not listed:
        raise ConfigError(f"{file}: no {kind} in it")
    for i, one in enumerate(listed):
        if not isinstance(one, dict):
            raise ConfigError(f"{file}: {kind} {i + 1} is not an object")
    return [(f"{kind} {i + 1}", one) for i, one in enumerate(listed)]


def _given(found: dict[str, Any]) -> dict[str, Any]:
    """Without its nulls, which OCPI takes for properties that are not there."""
    return {name: value for name, value in found.items() if value is not None}


def _refuse(literal: str) -> None:
    raise ValueError(literal)  # NaN, Infinity


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{file}: {reason}") from error
