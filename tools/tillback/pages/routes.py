"""The driver's pages over HTTP, and what Stripe calls; no API key opens or closes them.

| path | what is there |
| --- | --- |
| /q/{nonce}, /c/{charger}?n=NONCE | what a QR code leads to; /c/{charger} what a sticker does |
| /c/{charger}/pay | POST: to the provider's page |
| /p/{attempt}, .../status.json | a payment, for whoever knows its id |
| /p/{attempt}/checkout | back to the provider's page |
| /p/{attempt}/stop, .../cancel | POST |
| /r/{attempt} | the receipt |
| /stripe/webhook | POST, signed by Stripe |
| /assets/... | what pages load |"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tillback import receipt
from tillback.api import limits, receipts
from tillback.api.problems import AGAIN_S, Problem
from tillback.api.security import Clock
from tillback.db.database import Database, utc_now
from tillback.db.tables import Authorization, Charger, Offer, PayAttempt
from tillback.language import CODES, Language, choose
from tillback.ledger import LedgerError
from tillback.pages import assets, pay, standing
from tillback.pages.model import PayPage
from tillback.payments import attempts, authorizations, stripe_events
from tillback.payments.attempts import NoOffer, Terms
from tillback.payments.provider import PENDING, ProviderError
from tillback.payments.settle import Settler
from tillback.payments.states import PaymentError
from tillback.payments.stripe import Stripe

RATE = limits.Rate(120, 10.0)  # of one address, which phones may share
_PAY_RATE = limits.Rate(10, 0.05)
_ID = re.compile(r"[A-Za-z0-9_-]{24}")
_NONCE = re.compile(r"[A-Z2-7]{1,64}")  # base32
_COOKIE, _COOKIE_S = "attempt", 86400
_FIELDS_MAX = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """What the pages stand on. `public_url`: where drivers find them, without a / at its end;
    `connected`: whether commands to chargers can go out; `payments_at`: the origins of the
    provider's pages."""

    database: Database
    settler: Settler
    provider: Stripe
    public_url: str
    hold_minor: int
    webhook_secret: str | None = None
    connected: Callable[[], bool] = lambda: True
    payments_at: tuple[str, ...] = ("https://checkout.stripe.com",)
    clock: Clock = utc_now
    rate: limits.Rate = RATE
    pay_rate: limits.Rate = _PAY_RATE

    def terms(self, lang: str) -> Terms:
        """Of a payment by a driver who reads `lang`."""
        back = f"{self.public_url}/p/{{attempt}}?lang={lang}"
        return Terms(self.provider.name, self.hold_minor, back)


def router(site: Site) -> APIRouter:
    """The routes; wants bodies as api.bodies leaves them."""
    pages = _Pages(site)
    limited, pays = _limit(site.rate, site.clock), _limit(site.pay_rate, site.clock)
    made = APIRouter(include_in_schema=False, dependencies=[Depends(limited)])
    for path, act in (
        ("/q/{nonce}", pages.code), ("/c/{charger}", pages.offer), ("/p/{attempt}", pages.attempt),
        ("/p/{attempt}/status.json", pages.status), ("/p/{attempt}/checkout", pages.checkout),
        ("/r/{attempt}", pages.receipt),
    ):  # fmt: skip
        made.add_api_route(path, act, methods=["GET"])
    made.add_api_route("/c/{charger}/pay", pages.pay, methods=["POST"],
                       dependencies=[Depends(pays)])  # fmt: skip
    made.add_api_route("/p/{attempt}/stop", pages.stop, methods=["POST"])
    made.add_api_route("/p/{attempt}/cancel", pages.cancel, methods=["POST"])
    everybody = APIRouter(include_in_schema=False)
    everybody.add_api_route(standing.ASSETS + "{name}", _asset, methods=["GET"])
    everybody.add_api_route("/stripe/webhook", pages.webhook, methods=["POST"])
    everybody.include_router(made)
    return everybody


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def code(self, nonce: str) -> Response:
        """The QR code's URL, short as it has to be."""
        with self._site.database.read() as session:
            code = session.get(Offer, _code(nonce.upper()))
        if code is None:
            raise Problem("not-found", "this QR code is not known")
        return _see_other(_offer_path(code.charger, code.nonce))

    def offer(self, request: Request, charger: str, n: str | None = None) -> Response:
        site = self._site
        with site.database.read() as session:
            _check_charger(session, charger)
            nonce = _code(n)
            mine = attempts.by_nonce(session, nonce) if nonce else None
            if mine is not None and mine.id == request.cookies.get(_COOKIE):
                return _see_other(_path(mine.id, _language(request).code))
            page = standing.offer(session, charger, nonce, site.hold_minor,
                                  site.connected(), site.clock())  # fmt: skip
        return self._html(request, page)

    def pay(self, request: Request, charger: str) -> Response:
        """To the provider's page; sent twice, to the same."""
        site, form = self._site, _form(request)
        attempt, nonce, lang = form.get("id", ""), _code(form.get("n")), form["lang"]
        if not _ID.fullmatch(attempt):
            raise Problem("bad-request", "the form lacks its id")
        try:
            with site.database.write() as session:
                _check_charger(session, charger)
                if not site.connected():
                    raise NoOffer(attempts.OFFLINE)
                made = attempts.begin(session, attempt, charger, nonce, site.terms(lang),
                                      site.clock())  # fmt: skip
                ref = made.auth_ref
        except (NoOffer, IntegrityError) as error:  # the page says why
            log.info("no payment at %s: %s", charger, type(error).__name__)
            return _see_other(_offer_path(charger, nonce, lang))
        site.settler.step(ref)
        answer = _see_other(self._checkout_url(attempt) or _path(attempt, lang))
        answer.set_cookie(_COOKIE, attempt, _COOKIE_S, path="/c/", httponly=True, samesite="lax",
                          secure=site.public_url.startswith("https:"))  # fmt: skip
        return answer

    def attempt(self, request: Request, attempt: str) -> Response:
        return self._html(request, self._page(request, attempt))

    def status(self, request: Request, attempt: str) -> Response:
        said = pay.status(self._page(request, attempt), _language(request))
        return JSONResponse(said, headers=pay.headers())

    def checkout(self, request: Request, attempt: str) -> Response:
        url = self._checkout_url(attempt)
        return _see_other(url or _path(self._attempt(attempt).id, _language(request).code))

    def stop(self, request: Request, attempt: str) -> Response:
        return self._give_up(request, attempt)

    def cancel(self, request: Request, attempt: str) -> Response:
        return self._give_up(request, attempt)

    def receipt(self, attempt: str) -> Response:
        with self._site.database.read() as session:
            ref = self._attempt(attempt).auth_ref
            record = authorizations.get(session, ref).record
        if record is None:
            raise Problem("not-found", "there is no receipt yet")
        found = receipts.checked(self._site.database, record)
        return HTMLResponse(receipt.html(found), headers=receipts.PAGE | _PRIVATE)

    def webhook(self, request: Request) -> Response:
        site = self._site
        if site.webhook_secret is None:
            raise Problem("not-found")
        signature = request.headers.get("Stripe-Signature")
        try:
            event = stripe_events.read(request.state.body, signature, site.webhook_secret)
        except stripe_events.BadEvent as error:
            log.warning("Stripe webhook refused: %s", error)
            raise Problem("bad-request", str(error)) from error
        self._follow(event)
        return Response(status_code=204)

    def _follow(self, event: dict[str, Any]) -> None:
        """Raises Problem for what Stripe is to send again, when it can be asked, or booked."""
        site, dispute = self._site, stripe_events.dispute_of(event)
        try:
            found = None if dispute is None else site.provider.dispute(dispute)
            with site.database.write() as session:
                if found is not None:
                    stripe_events.book(session, found, site.clock())
                stripe_events.hint(session, event, site.clock())
        except ProviderError as error:
            log.warning("Stripe webhook: %s", error)
            raise Problem("unavailable", headers={"Retry-After": AGAIN_S}) from error
        except (PaymentError, LedgerError) as error:
            log.warning("Stripe webhook: %s", error)
            raise Problem("conflict", "it cannot be booked now") from error

    def _give_up(self, request: Request, attempt: str) -> Response:
        """Whether it could is for the page to say, which shows how things stand."""
        lang, ref = _form(request)["lang"], self._attempt(attempt).auth_ref
        try:
            with self._site.database.write() as session:
                attempts.give_up(session, ref, self._site.clock())
        except PaymentError as error:
            log.info("%s", error)
        return _see_other(_path(attempt, lang))

    def _attempt(self, attempt: str) -> PayAttempt:
        with self._site.database.read() as session:
            found = session.get(PayAttempt, attempt) if _ID.fullmatch(attempt) else None
        if found is None:
            raise Problem("not-found", "there is no such payment")
        return found

    def _page(self, request: Request, attempt: str) -> PayPage:
        id_ = self._attempt(attempt).id
        asked = "?" + urlencode({"lang": _language(request).code})
        with self._site.database.read() as session:
            page = standing.attempt(session, id_, self._site.clock())
        assert page is not None  # attempts stay
        links = replace(page.links, status=page.links.status + asked,
                        again=page.links.again + asked)  # fmt: skip
        return replace(page, links=links)

    def _checkout_url(self, attempt: str) -> str | None:
        """The provider's page of a payment that waits for the payer."""
        with self._site.database.read() as session:
            auth: Authorization = authorizations.get(session, self._attempt(attempt).auth_ref)
        if auth.state != "requested" or auth.provider_ref is None:
            return None
        try:
            found = self._site.provider.state(auth.provider_ref)
        except ProviderError as error:
            log.warning("authorisation %s: %s", auth.ref, error)
            return None
        return found.secret if found.state == PENDING else None

    def _html(self, request: Request, page: PayPage) -> Response:
        headers = pay.headers(self._site.payments_at)
        return HTMLResponse(pay.html(page, _language(request)), headers=headers)


_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


def _check_charger(session: Session, charger: str) -> None:
    if not charger.isprintable() or session.get(Charger, charger[:64]) is None:
        raise Problem("not-found", "there is no such charger")


def _code(given: str | None) -> str | None:
    """A nonce; what can be none is one that nobody knows."""
    if not given:
        return None
    return given if _NONCE.fullmatch(given) else "-"


def _asset(name: str) -> Response:
    found = assets.ASSETS.get(name)
    if found is None:
        raise Problem("not-found")
    return Response(found.body, headers=assets.HEADERS, media_type=found.media_type)


def _limit(rate: limits.Rate, clock: Clock) -> Callable[[Request], object]:
    """A dependency that lets an address ask so often."""
    buckets = limits.Buckets(rate)

    async def check(request: Request) -> None:
        address = request.client.host if request.client else ""
        grant = buckets.take(address, clock().timestamp())
        if not grant.allowed:
            raise Problem("rate", headers={"Retry-After": str(max(1, grant.wait_s))})

    return check


def _form(request: Request) -> dict[str, str]:
    """A form's fields; `lang` is always there. Raises Problem for another site's form, or none."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Problem("forbidden", "the form is another site's")
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Problem("bad-request", "want a form")
    try:
        text = request.state.body.decode()
        found = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX))
    except ValueError:
        raise Problem("bad-request", "not a form") from None
    lang = found.get("lang")
    return found | {"lang": lang if lang in CODES else _language(request).code}


def _language(request: Request) -> Language:
    return choose(request.query_params.get("lang"), request.headers.get("Accept-Language"))


def _offer_path(charger: str, nonce: str | None, lang: str | None = None) -> str:
    asked = {name: value for name, value in (("n", nonce), ("lang", lang)) if value}
    return f"/c/{quote(charger, safe='*')}" + (f"?{urlencode(asked)}" if asked else "")


def _path(attempt: str, lang: str) -> str:
    return f"/p/{attempt}?lang={lang}"


def _see_other(url: str) -> RedirectResponse:
    return RedirectResponse(url, 303, headers=_PRIVATE)
