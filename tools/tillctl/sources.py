"""Where published records come from: files, folders and tillback's database."""

import contextlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from evtill.core import jws, key_rotation
from evtill.core.errors import EvtillError, RecordError
from tillctl.public_key import PublicKey

_FILE_MAX = 256 * 2**20  # bytes
_SUFFIXES = (".jws", ".jsonl")  # of the files in a folder that are read


@dataclass
class Found:
    """What the sources hold, in their order: published JWS, usage records and key rotations apart.

    keys: (charger, registered key) of a database's chargers, none from files: a key that lies
    beside the records that it is to prove proves nothing. whole: a folder or database was read."""

    records: list[bytes] = field(default_factory=list)
    rotations: list[bytes] = field(default_factory=list)
    keys: list[tuple[str, PublicKey]] = field(default_factory=list)
    whole: bool = False

    def add(self, published: bytes) -> None:
        """Sorts a JWS by what its header says that it is; whether it is that, who verifies says."""
        is_rotation = claimed(published, "typ") == key_rotation.ROTATION
        (self.rotations if is_rotation else self.records).append(published)


def read(names: list[str], charger: str | None = None) -> Found:
    """Everything in files, folders and databases (`sqlite:///FILE`). charger: only this one's, of
    a database. Raises RecordError for a source that cannot be read or holds no record."""
    found = Found()
    for name in names:
        before = len(found.records)
        if "://" in name:
            _read_database(name, charger, found)
        elif Path(name).is_dir():
            found.whole = True
            for path in sorted(Path(name).iterdir()):
                if path.suffix in _SUFFIXES and path.is_file():
                    _read_file(path, found, True)
        else:
            _read_file(Path(name), found, False)
            before -= bool(found.rotations)  # a file with nothing but a rotation is one
        if len(found.records) <= before:
            raise RecordError(f"{name}: no record in it")
    return found


def claimed(published: bytes, name: str) -> str | None:
    """What a JWS's header says of its `typ` or `kid`, before anything is checked."""
    header = published[: published.find(b".") + 1]
    return _claims(header).get(name) if len(header) <= 2 * jws.MAX_HEADER_BYTES else None


@lru_cache(maxsize=10000)  # of 400 bytes each
def _claims(header: bytes) -> dict[str, str]:
    """The strings in a header with the dot after it; a charger's records all have the same one."""
    with contextlib.suppress(EvtillError, ValueError, AttributeError, RecursionError):
        said = json.loads(jws.b64url_decode(header[:-1])).items()
        return {name: value for name, value in said if isinstance(value, str)}
    return {}


def _read_file(path: Path, found: Found, all_of_it: bool) -> None:
    """The JWS in a file, one a line; all_of_it: lines that are none too, to be shown as such."""
    try:
        if path.stat().st_size > _FILE_MAX:
            raise RecordError(f"{path}: too large")
        lines = [line.strip() for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}") from error
    for line in filter(None, lines):
        published = _published(line)
        if len(published) > jws.MAX_JWS_BYTES or (published.count(b".") != 2 and not all_of_it):
            raise RecordError(f"{path}: not a usage record (JWS)")
        found.add(published)


def _published(line: bytes) -> bytes:
    """The JWS in a line: itself, or in the object that `tillback records --jsonl` makes of it."""
    if line.startswith(b"{"):
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            return str(json.loads(line)["jws"]).encode()
    return line


def _read_database(url: str, charger: str | None, found: Found) -> None:
    from tillback.store import Store

    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:") and not file.is_file():
        raise RecordError(f"{url}: no such database")
    found.whole = True
    with contextlib.closing(Store(url)) as store:
        for row in store.records(charger):
            found.add(row.jws)
        for one in store.chargers():
            if charger in (None, one.id):
                found.keys.append((one.id, PublicKey(one.public_key_pem)))
                found.rotations += store.rotations(one.id)
