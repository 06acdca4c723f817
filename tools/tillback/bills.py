"""Bills: what each stored record costs, written and booked in one transaction with it."""

from typing import Any

from sqlalchemy.orm import Session

from evtill.core.tariff import Tariff
from tillback import billing, repricing
from tillback.alarms import Raised, sound
from tillback.db.tables import Bill
from tillback.db.writing import insert


def add(
    session: Session, found: list[tuple[dict[str, Any], dict[str, Any], Tariff]], at: str
) -> None:
    """Bills records (parsed payload, parsed OCMF payload, tariff) that are stored and have no
    bill."""
    write(session, [(said, repricing.judge(said, meant, tariff)) for said, meant, tariff in found],
          at)  # fmt: skip


def write(
    session: Session, judged: list[tuple[dict[str, Any], repricing.Judgement]], at: str
) -> None:
    """Keeps the bills, raises their alarms and books them."""
    insert(session, Bill, [
        {
            "record": said["id"], "currency": said["currency"],
            "total_minor": said["total_cost"]["incl_minor"],
            "recomputed_minor": one.recomputed_minor, "billed_minor": one.billed_minor,
            "finding": one.finding, "billed_at": at,
        }
        for said, one in judged
    ])  # fmt: skip
    sound(session, [
        Raised(said["charger"], one.alarm, f"{said['id']}: {one.finding}")
        for said, one in judged if one.alarm
    ], at)  # fmt: skip
    billing.book(session, [(said, one.billed_minor) for said, one in judged], at)
