"""A payment provider in RAM, for tests and demonstrations: it obeys the contract of the real ones,
and fails as they do when it is told to."""

import datetime
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tillback.db.database import stamp
from tillback.payments.provider import (
    CAPTURED,
    DONE,
    HELD,
    PENDING,
    RELEASED,
    Declined,
    Payment,
    ProviderError,
    Repayment,
    Unreachable,
    Unsure,
)
from tillback.payments.units import unit_minor

DOWN, LOST, BROKEN, BROKEN_AFTER = "down", "lost", "broken", "broken_after"
NO_COVER = "no_cover"  # a source that every hold is declined on
_HOLD = datetime.timedelta(days=7)

_Said = TypeVar("_Said", Payment, Repayment)


@dataclass
class Simulated:
    """`faults`: what befalls the next orders and questions, one each: DOWN (not heard), LOST (done,
    but the answer does not arrive), BROKEN (not done; says that it failed, for ever under this
    key), BROKEN_AFTER (says so although it is done), "" (fine).
    A hold on NO_COVER is declined."""

    name: str = "simulated"
    clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)
    fee_ppm: int | None = 14000  # None: it says later
    faults: list[str] = field(default_factory=list)
    payments: dict[str, Payment] = field(default_factory=dict)
    repaid_minor: dict[str, int] = field(default_factory=dict)  # by payment
    _refunds: dict[tuple[str, str], Repayment] = field(default_factory=dict)
    _known: dict[str, tuple[tuple[object, ...], Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(
        self, ref: str, amount_minor: int, currency: str, source: str | None, key: str
    ) -> Payment:  # fmt: skip
        def act() -> Payment:
            if source == NO_COVER:
                raise Declined("the card has no cover")
            self._check_unit(amount_minor, currency)
            made = Payment(f"sim_{len(self.payments) + 1}", HELD, amount_minor,
                           until_at=stamp(self.clock() + _HOLD))  # fmt: skip
            if source is None:
                made = replace(made, state=PENDING, until_at=None, secret=f"{made.id}_secret")
            return self._put(made)

        return self._once(key, ("hold", ref, amount_minor, currency, source), act)

    def pay(self, payment: str, covered: bool = True) -> None:
        """The payer has named a card."""
        with self._lock:
            found = self._found(payment)
            if found.state == PENDING and covered:
                self._put(replace(found, state=HELD, until_at=stamp(self.clock() + _HOLD)))

    def state(self, payment: str) -> Payment:
        with self._lock:
            fault = self.faults.pop(0) if self.faults else ""
            if fault:
                raise Unreachable("no answer")
            return self._found(payment)

    def capture(self, payment: str, amount_minor: int, currency: str, key: str) -> Payment:
        def act() -> Payment:
            found = self._found(payment)
            self._check_unit(amount_minor, currency)
            if found.state != HELD or not 0 < amount_minor <= found.held_minor:
                raise Declined(f"{found.state}: cannot capture {amount_minor}")
            fee = None if self.fee_ppm is None else -(-amount_minor * self.fee_ppm // 10**6)
            return self._put(
                replace(found, state=CAPTURED, captured_minor=amount_minor, fee_minor=fee)
            )

        return self._once(key, ("capture", payment, amount_minor, currency), act)

    def release(self, payment: str, key: str) -> Payment:
        def act() -> Payment:
            found = self._found(payment)
            if found.state not in (HELD, PENDING):
                raise Declined(f"{found.state}: cannot release")
            return self._put(replace(found, state=RELEASED))

        return self._once(key, ("release", payment), act)

    def refund(
        self, payment: str, refund: str, amount_minor: int, currency: str, key: str
    ) -> Repayment:  # fmt: skip
        def act() -> Repayment:
            found, repaid = self._found(payment), self.repaid_minor.get(payment, 0)
            self._check_unit(amount_minor, currency)
            if found.state != CAPTURED or not 0 < amount_minor <= found.captured_minor - repaid:
                raise Declined(f"{found.state}: cannot refund {amount_minor}")
            self.repaid_minor[payment] = repaid + amount_minor
            made = Repayment(f"sim_re_{len(self._refunds) + 1}", DONE)
            self._refunds[payment, refund] = made
            return made

        return self._once(key, ("refund", payment, refund, amount_minor, currency), act)

    def refunded(self, payment: str, refund: str) -> Repayment | None:
        self.state(payment)
        return self._refunds.get((payment, refund))

    def _once(self, key: str, order: tuple[object, ...], act: Callable[[], _Said]) -> _Said:
        """Does what was not done yet under the key; says what was said under it before."""
        with self._lock:
            fault = self.faults.pop(0) if self.faults else ""
            if fault == DOWN:
                raise Unreachable("no answer")
            known = self._known.get(key)
            if known is not None and known[0] != order:
                raise Declined(f"the key {key} was used for another order")
            answer: _Said | ProviderError
            if known is not None:
                answer = known[1]
            elif fault == BROKEN:
                answer = Unsure("internal error")
            else:
                try:
                    answer = act()
                except Declined as error:
                    answer = error
                if fault == BROKEN_AFTER:
                    answer = Unsure("internal error")
            self._known[key] = (order, answer)
            if fault == LOST:
                raise Unreachable("no answer in time")
            if isinstance(answer, ProviderError):
                raise answer
            return answer

    def _found(self, payment: str) -> Payment:
        found = self.payments.get(payment)
        if found is None:
            raise Declined(f"no payment {payment}")
        if found.state == HELD and found.until_at and found.until_at <= stamp(self.clock()):
            return self._put(replace(found, state=RELEASED))
        return found

    def _put(self, payment: Payment) -> Payment:
        self.payments[payment.id] = payment
        return payment

    def _check_unit(self, amount_minor: int, currency: str) -> None:
        if amount_minor <= 0 or amount_minor % unit_minor(self.name, currency):
            raise Declined(f"cannot move {amount_minor} {currency}")
