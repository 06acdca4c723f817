"""A tariff as a file: OCPI (or OCPP) JSON or compiled tables, to check a record against."""

import contextlib
import json
import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from evtill.core import record_check
from evtill.core.errors import TariffError
from evtill.core.tariff import Tariff, split
from tillctl.tariff_compile import compile_tariff


class TariffFile:
    """The tariffs in the file `path`. Raises TariffError when it cannot be read.

    timezone: of a JSON tariff; None finds the one with which the table has the record's hash."""

    def __init__(self, path: Path, timezone: str | None = None) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TariffError(f"{path}: {error.strerror or error}") from error
        self._timezone = timezone
        self._tables: list[Tariff] = []
        self._sources: list[Any] = []
        if data[:2] == b"ET":
            self._tables = [Tariff(table) for table in split(data)]
            return
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            raise TariffError(f"{path}: neither JSON nor a tariff table") from None
        if isinstance(found, dict) and isinstance(found.get("data"), dict | list):
            found = found["data"]  # an OCPI response
        self._sources = found if isinstance(found, list) else [found]
        compile_tariff(found, timezone or "UTC")  # says now what is wrong with it

    def find(self, record: dict[str, Any]) -> Tariff:
        """The tariff whose table has the hash in the (parsed) record. Raises TariffError."""
        wanted = record["tariff"]["sha256"]
        for tariff in self._tables:
            if tariff.sha256 == wanted:
                return tariff
        name = record["tariff"]["id"]
        for source in self._sources:
            if Tariff(compile_tariff(source, "UTC")).id != name:
                continue
            for zone in [self._timezone] if self._timezone else _zones(record):
                for year in _years(record):
                    tariff = Tariff(compile_tariff(source, zone, year))
                    if tariff.sha256 == wanted:
                        return tariff
        raise TariffError(f"this is not the tariff {name} of the record, sha256 {wanted}")


class TariffFiles:
    """Several tariff files, as one."""

    def __init__(self, files: list[TariffFile]) -> None:
        self._files = files

    def find(self, record: dict[str, Any]) -> Tariff:
        """As TariffFile.find."""
        for file in self._files[:-1]:
            with contextlib.suppress(TariffError):
                return file.find(record)
        return self._files[-1].find(record)


def _years(record: dict[str, Any]) -> list[int]:
    """When the table may have been compiled: it holds the offsets of the years from then on."""
    year = int(record["start_date_time"][:4])
    this = datetime.now(UTC).year
    return list(dict.fromkeys([year, this, year - 1, year - 2, year - 3]))


def _zones(record: dict[str, Any]) -> list[str]:
    """Time zones whose offset at the session's start is the one in its OCMF reading."""
    start_s = record_check.unix_s(record["start_date_time"])
    try:
        _, found, _ = record_check.parse_ocmf(record["ocmf"])
    except record_check.RecordError:
        return ["UTC"]
    begin = found["RD"][0]
    offset_s = record_check.civil_s(begin["TM"][:19]) - begin["unix_s"]
    at = datetime.fromtimestamp(start_s, UTC)
    fitting = [zone for zone in _all_zones() if _offset(zone, at) == timedelta(seconds=offset_s)]
    return ["UTC", *(zone for zone in fitting if zone != "UTC")]


def _offset(zone: str, at: datetime) -> timedelta | None:
    return at.astimezone(zoneinfo.ZoneInfo(zone)).utcoffset()


@cache
def _all_zones() -> list[str]:
    """Names that stand for a place, Europe's first."""
    names = [name for name in zoneinfo.available_timezones() if "/" in name]
    return sorted(names, key=lambda name: (not name.startswith("Europe/"), name))
