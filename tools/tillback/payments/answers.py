"""What a provider's answer means for an authorisation: booked, and the next state."""

import datetime
from collections.abc import Callable

from sqlalchemy.orm import Session

from evtill.core.errors import EvtillError
from tillback import ledger
from tillback.alarms import Raised, sound
from tillback.db.database import stamp
from tillback.db.tables import Authorization, Refund
from tillback.ledger import Booking
from tillback.payments import refunds, states
from tillback.payments.provider import (
    CAPTURED,
    DONE,
    HELD,
    PENDING,
    RELEASED,
    Declined,
    Payment,
    Repayment,
    Unsure,
    money_account,
)
from tillback.payments.units import least_minor, unit_minor

STUCK_TRIES = 8  # then there is an alarm, once; the tries go on
FEE_TRIES = 5
_POLL_S = 5  # while the payer is at it
_LOOK_S = 3600  # at a hold that should have lapsed, and for a fee
_BACK_OFF_S = (5, 3600)
_WORDS_MAX = 200  # of an error


class Answer:
    """One answer, in the transaction that it leads to; `auth` is locked."""

    def __init__(
        self, session: Session, auth: Authorization, at: datetime.datetime
    ) -> None:  # fmt: skip
        self._session, self._auth = session, auth
        self._at, self._now = at, stamp(at)

    def take(self, asked_in: str, answer: Payment | EvtillError) -> None:
        """Books `answer` to what was asked in the state `asked_in`: nothing where the authorisation
        has left that meanwhile."""
        auth = self._auth
        if isinstance(answer, Payment):
            auth.provider_ref = answer.id
        if auth.state != asked_in:
            return
        if isinstance(answer, EvtillError):
            self._refused(answer)
        else:
            _MEANINGS[auth.state](self, answer)

    def take_refund(self, id_: str, answer: Repayment | EvtillError) -> None:
        """Books `answer` to a refund of it: nothing where that is over."""
        refund = self._session.get_one(Refund, id_)  # whoever changes it has locked `auth`
        if refund.state != refunds.PENDING:
            return
        if isinstance(answer, Repayment) and answer.state == DONE:
            refunds.finish(self._session, self._auth, refund, answer.id, self._now)
        elif isinstance(answer, Repayment | Declined):
            refund.state, refund.due_at = refunds.FAILED, None
            self._alarm("refund_failed", f"{refund.id} of {self._auth.ref}: {answer}")
            refunds.tell(self._session, refund, self._now)
        else:
            self._again(refund, answer, f"refund {refund.id} of {self._auth.ref}")

    def _requested(self, payment: Payment) -> None:
        auth = self._auth
        if payment.state == HELD:
            auth.hold_minor, auth.hold_until_at = payment.held_minor, payment.until_at
            auth.ceiling_minor = min(auth.ceiling_minor or auth.hold_minor, auth.hold_minor)
            self._move("authorised", "the money is held", auth.expires_at)
        elif payment.state == PENDING:
            auth.tries, auth.due_at = 0, self._later(_POLL_S)
        elif payment.state == RELEASED:
            self._move("failed", "released at the provider")
        else:
            self._disagrees(payment)

    def _holding(self, payment: Payment) -> None:
        """Charging or expired: nothing is to be done but to know of the hold."""
        auth = self._auth
        if payment.state in (HELD, PENDING):
            until_at = payment.until_at or ""
            auth.tries, auth.due_at = 0, max(until_at, self._later(_LOOK_S))
        elif payment.state == CAPTURED:
            self._disagrees(payment)
        elif auth.state == "charging":
            self._alarm("hold_lapsed", f"{auth.ref}: {auth.hold_minor} {auth.currency}")
            self._move("expired", "the hold has lapsed")
        else:
            self._move("released", "the hold has lapsed")

    def _capturing(self, payment: Payment) -> None:
        auth = self._auth
        if payment.state == CAPTURED:
            self._captured(payment)
        elif payment.state != RELEASED:
            self._again(auth, "the capture is under way", auth.ref)
        elif auth.capturing_minor == 0:
            self._move("released", "a bill of nothing that can be taken")
            self._settle_rest()
        else:
            self._alarm("capture_failed", f"{auth.ref}: the hold has lapsed")
            self._move("failed", "the hold has lapsed")

    def _captured(self, payment: Payment) -> None:
        auth, amount = self._auth, payment.captured_minor
        account, _ = ledger.receivable(self._session, auth.record or "")
        amounts = {money_account(auth): amount, account: -amount}
        ledger.post(self._session, [self._booking("capture", amounts)], self._now)
        auth.captured_minor = amount
        known = self._book_fee(payment)
        self._move("captured", "captured", None if known else self._later(_LOOK_S))
        self._settle_rest()

    def _settle_rest(self) -> None:
        """What was not captured: waived where the provider cannot move so little."""
        auth = self._auth
        account, still = ledger.receivable(self._session, auth.record or "")
        too_little = unit_minor if auth.captured_minor else least_minor
        if 0 < still < too_little(auth.provider, auth.currency):
            rest = {"waived": still, account: -still}
            ledger.post(self._session, [self._booking("waive", rest)], self._now)
        refunds.settle_difference(self._session, auth, self._now)

    def _releasing(self, payment: Payment) -> None:
        if payment.state == RELEASED:
            self._move("released", "given back")
        elif payment.state == CAPTURED:
            self._disagrees(payment)
        else:
            self._again(self._auth, "the release is under way", self._auth.ref)

    def _taken(self, payment: Payment) -> None:
        """Only the fee was not known yet."""
        auth = self._auth
        if self._book_fee(payment):
            auth.due_at = None
        elif auth.tries < FEE_TRIES:
            auth.due_at = self._later(_LOOK_S)
        else:
            auth.due_at = None
            self._alarm("fee_unknown", auth.ref)

    def _book_fee(self, payment: Payment) -> bool:
        auth, fee = self._auth, payment.fee_minor
        if fee is None:
            return False
        amounts = {"provider_fees": fee, money_account(auth): -fee}
        ledger.post(self._session, [self._booking("fee", amounts)], self._now)
        auth.fee_minor = fee
        return True

    def _refused(self, error: EvtillError) -> None:
        auth = self._auth
        if not isinstance(error, Declined):
            self._again(auth, error, auth.ref)
        elif auth.state == "requested":
            self._move("failed", _words(error))
        elif auth.state == "to_capture":
            self._alarm("capture_failed", f"{auth.ref}: {_words(error)}")
            self._move("failed", _words(error))
        elif auth.state == "to_release" and auth.provider_ref is None:
            self._move("released", "there was no hold to be had")
        else:
            self._again(auth, error, auth.ref)

    def _again(self, row: Authorization | Refund, why: EvtillError | str, what: str) -> None:
        """Later, and later each time; never not at all."""
        row.reason = _words(why) if isinstance(row, Authorization) else row.reason
        row.attempt += isinstance(why, Unsure)
        least_s, most_s = _BACK_OFF_S
        row.due_at = self._later(min(least_s << min(row.tries - 1, 20), most_s))
        if row.tries == STUCK_TRIES:
            self._alarm("settlement_stuck", f"{what}: {_words(why)}")

    def _disagrees(self, payment: Payment) -> None:
        """Somebody moved the money elsewhere: not ours to book."""
        auth = self._auth
        auth.due_at = None
        said = f"{payment.state} {payment.captured_minor} {auth.currency}"
        self._alarm("provider_disagrees", f"{auth.ref} is {auth.state}, at the provider {said}")

    def _move(self, new: str, reason: str, due_at: str | None = None) -> None:
        states.write(self._session, [states.move(self._auth, new, reason, self._now, due_at)])

    def _alarm(self, name: str, detail: str) -> None:
        sound(self._session, [Raised(self._auth.charger or "", name, detail)], self._now)

    def _booking(self, kind: str, amounts: dict[str, int]) -> Booking:
        auth = self._auth
        return Booking(f"{kind}:{auth.ref}", auth.currency, amounts, auth.record, auth.ref)

    def _later(self, s: int) -> str:
        return stamp(self._at + datetime.timedelta(seconds=s))


def _words(error: EvtillError | str) -> str:
    return str(error)[:_WORDS_MAX]


_MEANINGS: dict[str, Callable[[Answer, Payment], None]] = {
    "requested": Answer._requested, "charging": Answer._holding, "expired": Answer._holding,
    "to_capture": Answer._capturing, "to_release": Answer._releasing,
    **dict.fromkeys(states.TAKEN, Answer._taken),
}  # fmt: skip
