"""The two tariff files of the data partition: the one that a technician or the backend put there,
and the last one that was whole, which an open session may need when the other has been replaced."""

from evtill.app import files
from evtill.core import tariff as tariffs
from evtill.core.errors import TariffError

_TARIFFS = ("/tariff.bin", "/tariff.good")


def read(folder):
    """(given, kept) as bytes, None where there is none."""
    return [files.read(folder + name) for name in _TARIFFS]


def keep(folder, tables):
    """Makes `tables` (bytes, or None) the kept file, unless it is."""
    path = folder + _TARIFFS[1]
    if tables is not None and tables != files.read(path):
        files.write(path, tables)


def is_whole(file):
    """Whether every table of a tariff file (bytes or None) can be used."""
    try:
        for table in tariffs.split(file or b""):
            tariffs.load(table)
    except TariffError:
        return False
    return True


def find(files, sha256_hex):
    """The Tariff of that hash in one of these files. Raises TariffError."""
    for file in files:
        if is_whole(file):
            for table in tariffs.split(file):
                tariff = tariffs.load(table)
                if tariff.sha256 == sha256_hex:
                    return tariff
    raise TariffError("the tariff of the open session is gone")
