"""How a charger, or a payment at it, stands now: what the driver's page is made of."""

import datetime
import json
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tillback import ledger, orders
from tillback.db.tables import (
    Authorization,
    AuthorizationChange,
    LiveMeter,
    Location,
    PayAttempt,
    Tariff,
    UsageRecord,
)
from tillback.pages.model import REASONS, Charger, Links, Live, PayPage, Settled
from tillback.payments import attempts
from tillback.payments.attempts import NoOffer

ASSETS = "/assets/"
PLUG_S = 60  # plug_timeout_s, as chargers come
METHODS = ("card", "apple_pay", "google_pay")
_NEAR_PCT = 90  # of the hold
_STOPPING = (orders.WAITING, orders.SENT, orders.ACCEPTED)  # a stop that failed is there again
_STATES = {"code_expired": "expired", "code_used": "expired", "payment_late": "expired",
           "charger_offline": "offline", "payments_down": "offline"}  # fmt: skip
# why an authorisation came to nothing, in payments' words: the driver's
_WHY = {"nobody paid": "payment_late", "nobody came": "payment_late",
        "no session came of it": "no_plug", "the charger was not reached": "charger_offline",
        "released at the provider": "payment_failed",
        "the hold has lapsed": "payment_late"}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """An attempt with its authorisation, at a time."""

    session: Session
    attempt: PayAttempt
    auth: Authorization
    at: datetime.datetime


def offer(
    session: Session, charger: str, nonce: str | None, hold_minor: int, connected: bool,
    at: datetime.datetime,
) -> PayPage:  # fmt: skip
    """The page behind a QR code: the price list, or why nobody can pay. connected: whether commands
    can go out at all."""
    query = {} if nonce is None else {"n": nonce}
    links = Links(assets=ASSETS, again=f"/c/{charger}")
    about, now_s = _charger(session, charger), int(at.timestamp())
    try:
        tariff = attempts.offered(session, charger, nonce, at)
        if not connected:
            raise NoOffer(attempts.OFFLINE)
    except NoOffer as why:
        reason = str(why)
        return PayPage(_STATES.get(reason, "refused"), about, "EUR", now_s, reason=reason,
                       links=links, query=query)  # fmt: skip
    return PayPage(
        "offer", about, tariff.currency, now_s, tariff.table, hold_minor, METHODS, query=query,
        links=replace(links, pay=f"/c/{charger}/pay"), hidden=query | {"id": attempts.new_id()},
    )  # fmt: skip


def attempt(session: Session, id_: str, at: datetime.datetime) -> PayPage | None:
    """The page of a payment, from the provider's page to the receipt; None for no such id."""
    row = session.get(PayAttempt, id_)
    if row is None:
        return None
    one = Found(session, row, session.scalars(
        select(Authorization).where(Authorization.ref == row.auth_ref)).one(), at)  # fmt: skip
    path = f"/p/{row.id}"
    tariff = session.get(Tariff, row.tariff_sha256)
    page = PayPage(
        "paying", _charger(session, row.charger), one.auth.currency, int(at.timestamp()),
        tariff.table if tariff else None, one.auth.hold_minor, METHODS,
        links=Links(stop=f"{path}/stop", cancel=f"{path}/cancel", back=f"{path}/checkout",
                    again=f"/c/{row.charger}", receipt=f"/r/{row.id}",
                    status=f"{path}/status.json", assets=ASSETS),
    )  # fmt: skip
    return replace(page, **_changes(one))


def _changes(one: Found) -> dict[str, Any]:
    """What is special about a page of this attempt."""
    auth = one.auth
    if auth.record is not None:
        return _finished(one)
    if auth.state == "requested":
        return {"state": "paying"}
    begun = orders.of(one.session, auth.ref, "start")
    if begun and auth.state in ("charging", "expired"):
        return _begun(one, begun[0].made_at, begun[0].state)
    if auth.state in ("authorised", "expired"):
        return {"state": "starting", "plug_in_by_s": int(one.at.timestamp()) + PLUG_S}
    return _over(one, bool(begun))


def _begun(one: Found, made_at: str, order: str) -> dict[str, Any]:
    """A start was given, and neither record nor refusal has come."""
    session, auth = one.session, one.auth
    named = select(UsageRecord.id).where(UsageRecord.auth_ref == auth.ref).limit(1)
    stops = orders.of(session, auth.ref, "stop")
    if session.scalar(named) is not None or (stops and stops[0].state in _STOPPING):
        return {"state": "stopping"}
    live = _live(session, one.attempt.charger, auth)
    if live is not None:
        return {"state": "charging", "live": live}
    by_s = int(datetime.datetime.fromisoformat(made_at).timestamp()) + PLUG_S
    plugged = order == orders.ACCEPTED and _says(session, one.attempt.charger) == "charging"
    return {"state": "starting", "plug_in_by_s": by_s, "plugged": plugged}


def _over(one: Found, begun: bool) -> dict[str, Any]:
    """Nobody has charged, and nobody will."""
    auth = one.auth
    was_held = one.session.scalar(
        select(AuthorizationChange.row).where(
            AuthorizationChange.ref == auth.ref, AuthorizationChange.new == "authorised").limit(1)
    ) is not None  # fmt: skip
    reason, detail = _reason(auth.reason, begun, one)
    if not was_held:
        said = "payment_cancelled" if reason == "cancelled" else reason
        return {"state": _STATES.get(said, "refused"), "reason": said, "detail": detail}
    held = "released" if auth.state in ("released", "failed") else "held"
    return {"state": "not_started", "reason": reason, "detail": detail, "hold_state": held}


def _reason(said: str, begun: bool, one: Found) -> tuple[str, str]:
    """(one of REASONS, what the charger said). The release itself gives none: the step before."""
    if one.auth.state == "released":
        said = one.session.scalars(
            select(AuthorizationChange.reason)
            .where(AuthorizationChange.ref == one.auth.ref, AuthorizationChange.new == "to_release")
            .order_by(AuthorizationChange.row.desc()).limit(1)
        ).first() or said  # fmt: skip
    if said in REASONS:
        return said, ""
    if said in _WHY:
        return _WHY[said], ""
    if "card_declined" in said:
        return "card_declined", ""
    return ("charger_refused", said) if begun else ("payment_failed", "")


def _finished(one: Found) -> dict[str, Any]:
    session, auth = one.session, one.auth
    first = auth.record or ""
    record = session.scalars(select(UsageRecord).where(UsageRecord.id == first)).one()
    billed = sum(
        minor for account, minor in ledger.of_record(session, first, ["bill"]).items()
        if account.startswith("receivable:")
    )  # fmt: skip
    settled = Settled(billed, record.energy_wh, _duration_ms(record),
                      stop_reason=str(json.loads(record.payload)["stop_reason"]))  # fmt: skip
    if auth.state != "to_capture":
        _, still = ledger.receivable(session, first)
        same = record.currency == auth.currency
        settled = replace(
            settled, captured_minor=auth.captured_minor, refunded_minor=auth.refunded_minor,
            released_minor=auth.hold_minor - auth.captured_minor if same else None,
            open_minor=max(0, still),
        )  # fmt: skip
    tariff = session.get(Tariff, record.tariff_sha256)
    return {"state": "finished", "settled": settled, "currency": record.currency,
            "table": tariff.table if tariff else None}  # fmt: skip


def _duration_ms(record: UsageRecord) -> int:
    return int(json.loads(record.payload)["clock"]["duration_ms"])


def _live(session: Session, charger: str, auth: Authorization) -> Live | None:
    """What the charger said last of a session on this authorisation, however old."""
    row = session.get(LiveMeter, charger)
    said: dict[str, Any] = {} if row is None else json.loads(row.payload)
    values = [said.get(name) for name in ("energy_wh", "duration_ms", "cost_minor")]
    if row is None or said.get("ref") != auth.ref or not all(map(_is_count, values)):
        return None
    energy_wh, duration_ms, cost_minor = (int(value or 0) for value in values)
    power_w = said.get("power_w")
    return Live(
        int(datetime.datetime.fromisoformat(row.received_at).timestamp()), energy_wh, duration_ms,
        cost_minor, power_w if _is_count(power_w) else None,
        limit_near=cost_minor * 100 >= auth.hold_minor * _NEAR_PCT,
    )  # fmt: skip


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _says(session: Session, charger: str) -> object:
    return attempts.status(session, charger).get("state")


def _charger(session: Session, charger: str) -> Charger:
    """Where the driver stands, as far as a Location says so."""
    row = session.get(Location, charger)
    if row is None:
        return Charger(charger)
    ocpi: dict[str, Any] = json.loads(row.ocpi)
    place = " ".join(filter(None, (ocpi.get("postal_code"), ocpi.get("city"))))
    power = max((_power_w(one) for evse in ocpi.get("evses") or ()
                 for one in evse.get("connectors") or ()), default=0)  # fmt: skip
    return Charger(
        charger, str(ocpi.get("name") or ""),
        ", ".join(filter(None, (ocpi.get("address"), place))),
        str((ocpi.get("operator") or {}).get("name") or ""), power_w=power or None,
    )  # fmt: skip


def _power_w(connector: dict[str, Any]) -> int:
    power = connector.get("max_electric_power")
    return power if _is_count(power) and isinstance(power, int) else 0
