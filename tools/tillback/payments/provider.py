"""What a payment provider does for us: holds money, takes some of it, gives it back.

Every order carries a key. Under the same key a provider does the same thing once, however often it
is asked, and says the same again: so an order whose answer was lost is given again under its key.
Amounts are minor units (ISO 4217) of the currency, in whole multiples of units.unit_minor()."""

from dataclasses import dataclass
from typing import Protocol

from evtill.core.errors import EvtillError
from tillback.db.tables import Authorization

PENDING, HELD, CAPTURED, RELEASED = "pending", "held", "captured", "released"
DONE, FAILED = "done", "failed"
PREPAID = "prepaid"  # the provider that is our own books (payments.prepaid)


class ProviderError(EvtillError):
    """Base of what a provider's answer, or the want of one, leads to."""


class Declined(ProviderError):
    """It says no, and has done nothing: a card without cover, an order that cannot be."""


class Unreachable(ProviderError):
    """No answer, or not now: whether it has acted is not known. To be asked again under the same
    key."""


class Unsure(ProviderError):
    """It has failed, says so, and would say so again under the same key. To be asked how things
    stand; then the order may be given under another key."""


@dataclass(frozen=True)
class Payment:
    """How a payment stands at the provider, under whose `id`: it may be another once it is held.
    `state`: PENDING is waiting for the payer; RELEASED holds and has taken nothing, for good.
    `fee_minor` is None while it is not known, or kept in another currency. `until_at`: when the
    hold lapses, as in the database. `secret`: what the payer's page needs to go on, where it waits
    for that, such as the URL of the provider's page; never stored."""

    id: str
    state: str
    held_minor: int = 0
    captured_minor: int = 0
    fee_minor: int | None = None
    until_at: str | None = None
    secret: str | None = None


@dataclass(frozen=True)
class Repayment:
    """How a refund stands: `state` is DONE or FAILED."""

    id: str
    state: str


def money_account(auth: Authorization) -> str:
    """The ledger's account of the money that an authorisation moves."""
    if auth.provider == PREPAID:
        return f"prepaid:{auth.account}"
    return f"provider:{auth.provider}"


class Provider(Protocol):
    """Each method raises ProviderErrors only."""

    name: str

    def hold(
        self, ref: str, amount_minor: int, currency: str, source: str | None, key: str
    ) -> Payment:  # fmt: skip
        """Reserves the amount on `source`; without one, PENDING until the payer has named it. A URL
        as `source` is our page that the payer comes back to from the provider's own."""

    def state(self, payment: str) -> Payment:
        """How the payment of that id stands."""

    def capture(self, payment: str, amount_minor: int, currency: str, key: str) -> Payment:
        """Takes so much of what is held, and releases the rest."""

    def release(self, payment: str, key: str) -> Payment:
        """Gives back all that is held."""

    def refund(
        self, payment: str, refund: str, amount_minor: int, currency: str, key: str
    ) -> Repayment:  # fmt: skip
        """Gives back so much of what was captured; `refund` is our name of it."""

    def refunded(self, payment: str, refund: str) -> Repayment | None:
        """The refund of that name, if the provider knows it."""
