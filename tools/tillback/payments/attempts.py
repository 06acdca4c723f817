"""Payments by phone: from a charger's QR code to a hold, and from that to a session.

A code opens one attempt; only the QR code that never changes, a sticker's, opens several. What is
held goes back where no start was given for it: then no session can have begun."""

import datetime
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tillback import orders
from tillback.db.database import Database, stamp, utc_now
from tillback.db.tables import Authorization, Charger, Offer, Order, PayAttempt, Status, Tariff
from tillback.payments import authorizations, starting
from tillback.payments.authorizations import Asked
from tillback.payments.states import PaymentError
from tillback.payments.units import movable_minor

OPEN_MAX = 10  # unpaid attempts at one charger
OFFLINE, IN_USE = "charger_offline", "in_use"
_ID_BYTES = 18
_WHY = {"available": "", "reserved": "reserved", "faulted": "out_of_order",
        "unavailable": "out_of_order", "offline": OFFLINE}  # fmt: skip

log = logging.getLogger(__name__)


class NoOffer(PaymentError):
    """Nothing can be paid for: the text is one of pages.model.REASONS."""


@dataclass(frozen=True)
class Terms:
    """What a new attempt is to hold, with whom, and where the payer comes back to: a URL with
    {attempt} in it."""

    provider: str
    hold_minor: int
    back_url: str


def new_id() -> str:
    """An attempt's, which nobody guesses."""
    return secrets.token_urlsafe(_ID_BYTES)


def offered(
    session: Session, charger: str, nonce: str | None, at: datetime.datetime
) -> Tariff:  # fmt: skip
    """The tariff of a session that may be paid for now, by the code that was scanned. Raises
    NoOffer."""
    if nonce is not None:
        code = session.get(Offer, nonce)
        if code is None or code.charger != charger or code.expires_s <= at.timestamp():
            raise NoOffer("code_expired")
        if by_nonce(session, nonce) is not None:
            raise NoOffer("code_used")
    said = status(session, charger)
    why = _WHY.get(str(said.get("state", "offline")), IN_USE)
    if why:
        raise NoOffer(why)
    if not orders.is_reachable(session, charger):
        raise NoOffer(OFFLINE)
    tariff = session.get(Tariff, str(said.get("tariff_sha256")))
    if tariff is None:
        raise NoOffer("payments_down")
    return tariff


def begin(
    session: Session, attempt: str, charger: str, nonce: str | None, terms: Terms,
    at: datetime.datetime,
) -> PayAttempt:  # fmt: skip
    """A new attempt, or the one of that id: a form may be sent twice. Raises NoOffer."""
    known = session.get(PayAttempt, attempt)
    if known is not None and (known.charger, known.nonce) == (charger, nonce):
        return known
    session.scalars(select(Charger.id).where(Charger.id == charger).with_for_update())
    tariff = offered(session, charger, nonce, at)
    if known is not None:
        raise NoOffer("code_used")
    if _open(session, charger) >= OPEN_MAX:
        raise NoOffer(IN_USE)
    auth = authorizations.create(session, Asked(
        "card", tariff.currency, charger, provider=terms.provider,
        hold_minor=movable_minor(terms.provider, tariff.currency, terms.hold_minor),
        source=terms.back_url.format(attempt=attempt),
    ), at)  # fmt: skip
    made = PayAttempt(
        id=attempt, charger=charger, nonce=nonce, auth_ref=auth.ref, tariff_sha256=tariff.sha256,
        made_at=auth.created_at,
    )  # fmt: skip
    session.add(made)
    return made


def by_nonce(session: Session, nonce: str) -> PayAttempt | None:
    """The attempt that a code has opened."""
    return session.scalars(select(PayAttempt).where(PayAttempt.nonce == nonce)).one_or_none()


def give_up(session: Session, ref: str, at: datetime.datetime) -> None:
    """The driver does not want to charge: before the start, the money goes back; after it, the
    charger is to stop, and says what became of it. Raises PaymentError."""
    authorizations.get(session, ref, lock=True)
    if orders.of(session, ref, "start"):
        starting.stop(session, ref, at)
    else:
        authorizations.not_started(session, ref, "cancelled", at)


class Opener:
    """Has the charger start as soon as the money is held, or gives the money back."""

    def __init__(
        self, database: Database, connected: Callable[[], bool] = lambda: True,
        clock: Callable[[], datetime.datetime] = utc_now,
    ) -> None:  # fmt: skip
        """connected: whether commands can go out at all."""
        self._database = database
        self._connected = connected
        self._clock = clock

    def run_due(self) -> int:
        """Starts what is held and was not started; how many that were."""
        begun = select(Order.id).where(Order.auth_ref == Authorization.ref, Order.name == "start")
        with self._database.read() as session:
            refs = list(session.scalars(
                select(Authorization.ref).join(PayAttempt, PayAttempt.auth_ref == Authorization.ref)
                .where(Authorization.state.in_(("authorised", "expired")),
                       Authorization.record.is_(None), ~begun.exists())
                .order_by(Authorization.created_at)
            ))  # fmt: skip
        for ref in refs:
            self._open(ref)
        return len(refs)

    def _open(self, ref: str) -> None:
        at = self._clock()
        with self._database.write() as session:
            auth = authorizations.get(session, ref, lock=True)
            if auth.state not in ("authorised", "expired") or orders.of(session, ref, "start"):
                return
            try:
                if not self._connected():
                    raise PaymentError(OFFLINE)
                starting.start(session, ref, at)
            except PaymentError as error:
                log.warning("authorisation %s cannot start: %s", ref, error)
                late = auth.state == "expired" or auth.expires_at <= stamp(at)
                why = "payment_late" if late else OFFLINE
                authorizations.not_started(session, ref, why, at)


def status(session: Session, charger: str) -> dict[str, object]:
    """What the charger said of itself last."""
    row = session.scalars(
        select(Status.payload).where(Status.charger == charger).order_by(Status.row.desc()).limit(1)
    ).first()
    return {} if row is None else json.loads(row)


def _open(session: Session, charger: str) -> int:
    return session.scalar(
        select(func.count()).select_from(PayAttempt)
        .join(Authorization, Authorization.ref == PayAttempt.auth_ref)
        .where(PayAttempt.charger == charger, Authorization.state == "requested")
    ) or 0  # fmt: skip
