"""Authorisations: what opens a session, however it is paid. settle says how their money goes on."""

import datetime
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from tillback.db.database import stamp
from tillback.db.tables import Authorization, Charger, Token
from tillback.payments import prepaid, states
from tillback.payments.provider import PREPAID
from tillback.payments.states import PaymentError
from tillback.payments.units import least_minor, unit_minor

METHODS = ("rfid", "app", "card", "wallet", "prepaid", "terminal")  # as in usage records
INVOICE = "invoice"  # the provider that holds nothing: its account gets an invoice
LIFE_S = 900  # so long a session may begin
MINOR_MAX = 100_000_000  # as the firmware takes it (net.payment_api)
_REF_BYTES = 12
_OURS = (INVOICE, PREPAID)  # nobody else has to be asked for the money


class UnknownAuthorization(PaymentError):
    """There is no authorisation of that reference."""


@dataclass(frozen=True)
class Asked:
    """What an authorisation is to be.

    With `provider` INVOICE nothing is held, and `account` (or whose `token` it is) owes. PREPAID
    reserves `hold_minor` of what `account` has paid in. Any other holds `hold_minor` on `source`:
    what the provider knows the payer's card by, None where the payer is still to say.
    `ceiling_minor`: what the session may cost; at most what is held."""

    method: str
    currency: str
    charger: str | None = None
    token: str | None = None
    account: str | None = None
    ceiling_minor: int | None = None
    provider: str = INVOICE
    hold_minor: int = 0
    source: str | None = None
    life_s: int = LIFE_S


@dataclass(frozen=True)
class Verdict:
    """Whether a token may charge: `status` is OCPI 2.2.1's AllowedType (mod_tokens 1.4.1); ALLOWED
    comes with the authorisation."""

    status: str
    authorization: Authorization | None = None


def create(session: Session, asked: Asked, at: datetime.datetime) -> Authorization:
    """A new authorisation: `authorised`, or `requested` where the provider is to hold money first
    (settle does it). Raises PaymentError for one that cannot be."""
    _check(session, asked)
    invoiced = asked.provider == INVOICE
    at_once = asked.provider in _OURS
    now, expires_at = stamp(at), stamp(at + datetime.timedelta(seconds=asked.life_s))
    auth = Authorization(
        ref=secrets.token_hex(_REF_BYTES), charger=asked.charger, method=asked.method,
        token=asked.token, account=asked.account, currency=asked.currency,
        ceiling_minor=asked.ceiling_minor if invoiced else asked.ceiling_minor or asked.hold_minor,
        state="authorised" if at_once else "requested", provider=asked.provider,
        provider_ref=PREPAID if asked.provider == PREPAID else None, source=asked.source,
        hold_minor=asked.hold_minor, hold_until_at=None,
        capturing_minor=None, captured_minor=0, fee_minor=0, refunded_minor=0, record=None,
        attempt=0, tries=0, due_at=expires_at if at_once else now, reason="", created_at=now,
        expires_at=expires_at,
    )  # fmt: skip
    session.add(auth)
    session.flush()
    states.write(session, [states.step(auth, None, now)])
    return auth


def for_token(
    session: Session, token: str, charger: str, currency: str, at: datetime.datetime
) -> Verdict:  # fmt: skip
    """Whether the token may charge now, on its account. Raises PaymentError for a charger or a
    currency that cannot be."""
    known = session.get(Token, token)
    if known is None:
        return Verdict("NOT_ALLOWED")
    flags = known.flags.split()
    if "blocked" in flags:
        return Verdict("BLOCKED")
    if known.expires_at is not None and known.expires_at <= stamp(at):
        return Verdict("EXPIRED")
    if known.ceiling_minor == 0:
        return Verdict("NO_CREDIT")
    if "prepaid" in flags:
        return _prepaid(session, known, charger, currency, at)
    asked = Asked("rfid", currency, charger, token, known.account, known.ceiling_minor)
    return Verdict("ALLOWED", create(session, asked, at))


def get(session: Session, ref: str, lock: bool = False) -> Authorization:
    """The authorisation of that reference; with `lock`, for nobody else to change meanwhile. Raises
    UnknownAuthorization."""
    query = select(Authorization).where(Authorization.ref == ref)
    found = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if found is None:
        raise UnknownAuthorization(f"no authorisation {ref[:36]!r}")
    return found


def begin(session: Session, ref: str, at: datetime.datetime) -> Authorization:
    """Says that a session may have begun, before the charger is told to; a second time is no
    error. Raises PaymentError where it is too late or too early."""
    auth = get(session, ref, lock=True)
    if auth.state == "charging":
        return auth
    if auth.state == "authorised" and auth.expires_at <= stamp(at):
        raise PaymentError(f"authorisation {ref} has expired")
    step = states.move(auth, "charging", "a session begins", stamp(at), auth.hold_until_at)
    states.write(session, [step])
    return auth


def cancel(session: Session, ref: str, reason: str, at: datetime.datetime) -> Authorization:
    """Gives up one that no session has begun on; a second time is no error. Raises PaymentError
    where one may have: on prepaid credit, its charger may begin one at any time."""
    auth = get(session, ref, lock=True)
    if auth.provider == PREPAID and auth.state == "authorised":
        raise PaymentError(f"authorisation {ref} is prepaid: its charger alone can give it up")
    return _give_up(session, ref, ("requested", "authorised"), reason, at)


def not_started(session: Session, ref: str, reason: str, at: datetime.datetime) -> Authorization:
    """Gives up one of which the charger itself, asked, has said that no session began on it. Raises
    PaymentError."""
    return _give_up(session, ref, ("requested", "authorised", "charging", "expired"), reason, at)


def _give_up(
    session: Session, ref: str, states_: tuple[str, ...], reason: str, at: datetime.datetime
) -> Authorization:  # fmt: skip
    auth = get(session, ref, lock=True)
    if auth.state in ("to_release", "released"):
        return auth
    if auth.state not in states_:
        raise PaymentError(f"authorisation {ref} is {auth.state}, and cannot be cancelled")
    if auth.provider in _OURS:
        step = states.move(auth, "released", reason, stamp(at))
    else:
        step = states.move(auth, "to_release", reason, stamp(at), stamp(at))
    states.write(session, [step])
    return auth


def _prepaid(
    session: Session, token: Token, charger: str, currency: str, at: datetime.datetime
) -> Verdict:  # fmt: skip
    """An allotment of what the token's account, or the token itself, has paid in."""
    account = token.account or token.token
    minor = prepaid.allotment_minor(session, account, currency, token.ceiling_minor)
    if minor < prepaid.LEAST_MINOR:
        return Verdict("NO_CREDIT")
    asked = Asked("prepaid", currency, charger, token.token, account, provider=PREPAID,
                  hold_minor=minor)  # fmt: skip
    return Verdict("ALLOWED", create(session, asked, at))


def _check(session: Session, asked: Asked) -> None:
    """Raises PaymentError."""
    if asked.method not in METHODS:
        raise PaymentError(f"method: want one of {' '.join(METHODS)}")
    if not re.fullmatch("[A-Z]{3}", asked.currency):
        raise PaymentError("currency: want ISO 4217's three letters, such as EUR")
    if asked.charger is not None and session.get(Charger, asked.charger) is None:
        raise PaymentError(f"no charger {asked.charger[:36]!r}")
    if asked.provider == INVOICE and asked.hold_minor:
        raise PaymentError("hold_minor: an invoice holds nothing")
    least = least_minor(asked.provider, asked.currency)
    if asked.provider != INVOICE and not least <= asked.hold_minor <= MINOR_MAX:
        raise PaymentError(f"hold_minor: want {least} to {MINOR_MAX}")
    unit = unit_minor(asked.provider, asked.currency)
    if asked.hold_minor % unit:
        raise PaymentError(f"hold_minor: want a multiple of {unit} for {asked.currency}")
    most = MINOR_MAX if asked.provider == INVOICE else asked.hold_minor
    if asked.ceiling_minor is not None and not 0 < asked.ceiling_minor <= most:
        raise PaymentError(f"ceiling_minor: want 1 to {most}")
    if not 0 < asked.life_s <= 86400:
        raise PaymentError("life_s: want 1 to 86400")
    if asked.provider == PREPAID:
        prepaid.check(session, asked.account, asked.currency, asked.hold_minor)
