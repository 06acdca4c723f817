"""OCPP 2.1 TariffType compiled to the same table as OCPI's Tariff."""
from evtill.core.errors import TariffError

from .tariff_model import Model


def read(source: dict) -> Model:
    raise TariffError("tariff: OCPP tariffs are not read yet")
