"""Has the providers do what the books want: hold, take, give back. As often as it needs.

Each step is durable before the provider is asked, and under a key that makes it do it once. Before
each further try it is asked how things stand, and that alone is booked. A crash anywhere leaves a
due row behind: whoever takes it next begins with the question."""

import asyncio
import datetime
import logging
import threading
from collections.abc import Callable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from evtill.core.errors import EvtillError
from tillback import ledger
from tillback.db.database import Database, stamp
from tillback.db.tables import Authorization, Refund
from tillback.payments import authorizations, states
from tillback.payments.answers import Answer
from tillback.payments.provider import (
    HELD,
    PENDING,
    Declined,
    Payment,
    Provider,
    ProviderError,
    Repayment,
)
from tillback.payments.units import least_minor, movable_minor

LEASE_S = 120  # so long nobody else takes what one has taken: longer than its calls may last
_PAUSE_S = 2.0

log = logging.getLogger(__name__)


class Settler:
    """Several may work on one PostgreSQL. `providers` by their names; `clock`: now, with a zone."""

    def __init__(
        self, database: Database, providers: Mapping[str, Provider],
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:  # fmt: skip
        self._database = database
        self._providers = providers
        self._clock = clock
        self._ending = threading.Event()

    async def run(self) -> None:
        """Settles what is due until cancelled; what is in hand then is finished."""
        self._ending.clear()
        while True:
            work = asyncio.ensure_future(asyncio.to_thread(self.run_due))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                self._ending.set()
                await work
                raise
            await asyncio.sleep(_PAUSE_S)

    def run_due(self) -> int:
        """Settles what is due now; how many steps that were."""
        steps = 0
        while not self._ending.is_set() and (self.step() or self._step_refund()):
            steps += 1
        return steps

    def step(self, ref: str | None = None) -> bool:
        """Takes one authorisation that is due, or that one, a step further; whether there was."""
        taken = self._take(ref)
        if taken is None:
            return False
        auth, asks = taken
        if asks:
            answer: Payment | EvtillError
            try:
                answer = _ask(self._provider(auth), auth)
            except EvtillError as error:
                answer = error
                log.warning("authorisation %s, %s: %s", auth.ref, auth.state, error)
            self._book(auth, lambda found: found.take(auth.state, answer))
        return True

    def _step_refund(self) -> bool:
        taken = self._take_refund()
        if taken is None:
            return False
        auth, refund = taken
        answer: Repayment | EvtillError
        try:
            answer = _ask_refund(self._provider(auth), auth, refund)
        except EvtillError as error:
            answer = error
            log.warning("refund %s of %s: %s", refund.id, auth.ref, error)
        self._book(auth, lambda found: found.take_refund(refund.id, answer))
        return True

    def _take(self, ref: str | None) -> tuple[Authorization, bool] | None:
        """A due authorisation, and whether its provider is to be asked: then nobody else takes it
        for LEASE_S."""
        at = self._clock()
        with self._database.write() as session:
            query = select(Authorization).where(Authorization.due_at <= stamp(at))
            if ref is not None:
                query = query.where(Authorization.ref == ref)
            auth = session.scalars(
                query.order_by(Authorization.due_at).limit(1).with_for_update(skip_locked=True)
            ).one_or_none()
            if auth is None:
                return None
            asks = not _goes_on(session, auth, stamp(at))
            if asks:
                self._lease(auth, at)
                if auth.state == "to_capture" and auth.capturing_minor is None:
                    auth.capturing_minor = _wanted_minor(session, auth)
            return auth, asks

    def _take_refund(self) -> tuple[Authorization, Refund] | None:
        at = self._clock()
        with self._database.write() as session:
            refund = session.scalars(
                select(Refund).where(Refund.due_at <= stamp(at)).order_by(Refund.due_at).limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()  # fmt: skip
            if refund is None:
                return None
            self._lease(refund, at)
            return authorizations.get(session, refund.ref), refund

    def _lease(self, row: Authorization | Refund, at: datetime.datetime) -> None:
        row.tries += 1
        row.due_at = stamp(at + datetime.timedelta(seconds=LEASE_S))

    def _book(self, auth: Authorization, take: Callable[[Answer], None]) -> None:
        with self._database.write() as session:
            locked = authorizations.get(session, auth.ref, lock=True)
            take(Answer(session, locked, self._clock()))

    def _provider(self, auth: Authorization) -> Provider:
        found = self._providers.get(auth.provider)
        if found is None:
            raise ProviderError(f"no provider {auth.provider!r} is configured")
        return found


def _wanted_minor(session: Session, auth: Authorization) -> int:
    """What is to be captured: what is open, as far as it is held and can be moved."""
    _, still = ledger.receivable(session, auth.record or "")
    wanted = movable_minor(auth.provider, auth.currency, max(0, min(still, auth.hold_minor)))
    return wanted if wanted >= least_minor(auth.provider, auth.currency) else 0


def _goes_on(session: Session, auth: Authorization, now: str) -> bool:
    """Whether a due authorisation goes on without its provider being asked."""
    held = auth.provider != authorizations.INVOICE
    if auth.state == "authorised":
        step = states.move(auth, "expired", "nobody came", now, now if held else None)
    elif auth.state == "requested" and auth.expires_at <= now:
        step = states.move(auth, "to_release", "nobody paid", now, now)
    else:
        return False
    states.write(session, [step])
    return True


def _ask(provider: Provider, auth: Authorization) -> Payment:
    """How the payment stands, after the order that its state wants, where it wants one.

    A hold whose answer was lost is asked for again: under its key that is a question."""
    key = f"{auth.ref}:%s:{auth.attempt}"
    if auth.provider_ref is None:
        return provider.hold(
            auth.ref, auth.hold_minor, auth.currency, auth.source, key % "hold"
        )  # fmt: skip
    found = provider.state(auth.provider_ref)
    try:
        if auth.state == "to_capture" and auth.capturing_minor and found.state == HELD:
            return provider.capture(
                found.id, auth.capturing_minor, auth.currency, key % "capture"
            )
        frees = auth.state == "to_release" or auth.capturing_minor == 0
        if frees and found.state in (HELD, PENDING):
            return provider.release(found.id, key % "release")
    except Declined:  # perhaps because it is done
        again = provider.state(found.id)
        if again.state == found.state:
            raise
        return again
    return found


def _ask_refund(provider: Provider, auth: Authorization, refund: Refund) -> Repayment:
    """The refund, made if it is not there yet."""
    payment = auth.provider_ref or ""
    if refund.tries > 1:
        known = provider.refunded(payment, refund.id)
        if known is not None:
            return known
    return provider.refund(
        payment, refund.id, refund.amount_minor, refund.currency,
        f"{auth.ref}:refund-{refund.id}:{refund.attempt}",
    )  # fmt: skip
