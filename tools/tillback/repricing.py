"""What a record is billed: the lower of what the charger has signed and what its tariff says.

One function of the record and the tariff alone. Whatever a signed record says wrongly is in the
driver's favour, never below nothing, and raises an alarm."""

from dataclasses import dataclass
from typing import Any

from evtill.core.errors import RecordError
from evtill.core.tariff import Tariff
from tillctl import reprice, verify

_MOST_MINOR = (1 << 53) - 1  # as of a record's own amounts

PRICE_MISMATCH, NOT_BILLED = "price_mismatch", "not_billed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`recomputed_minor`: by the tariff, None where it cannot be. `finding`: what differs, or "";
    `alarm`: the name under which it is raised, or None."""

    billed_minor: int
    recomputed_minor: int | None
    finding: str = ""
    alarm: str | None = None


def judge(record: dict[str, Any], meant: dict[str, Any], tariff: Tariff) -> Judgement:
    """What to bill for a record and the payload of its OCMF string (both parsed and verified) by
    the tariff that it names."""
    total: int = record["total_cost"]["incl_minor"]
    try:
        verify.readings(record, meant)
        verify.measured(record)
        verify.add_up(record)
        recomputed, wrong = _recomputed(record, tariff)
    except (RecordError, reprice.Mismatch) as error:
        return Judgement(0, None, str(error), NOT_BILLED)
    finding, alarm = "; ".join(wrong[:3]), PRICE_MISMATCH if wrong else None
    if "free" in record["flags"]:
        return Judgement(0, recomputed, f"free; {finding}" if finding else "free", alarm)
    lower = max(min(total, recomputed), min(0, recomputed))
    return Judgement(lower, recomputed, finding, alarm)


def _recomputed(record: dict[str, Any], tariff: Tariff) -> tuple[int, list[str]]:
    """(gross in minor units by the tariff's own rates, where the record differs). Raises Mismatch
    where the tariff says nothing about it."""
    try:
        found = reprice.reprice(record, tariff)
        wrong = reprice.differences(record, found)
    except reprice.Mismatch as error:
        found = reprice.reprice(record, tariff, at_recorded_rates=False)
        wrong = [str(error)]
    gross: int = found["incl_minor"]
    if abs(gross) > _MOST_MINOR:
        raise reprice.Mismatch(f"{gross:.3g} minor units by the tariff")
    return gross, wrong

