"""The driver's page as HTML, and its news as JSON."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2

from tillback.language import CODES, Language, language
from tillback.pages import assets, figures, price_list
from tillback.pages.model import METHODS, STATES, PayPage


def html(page: PayPage, said_in: Language) -> str:
    """The whole page. Raises TariffError for a tariff that is none."""
    prices = _prices(page, said_in)
    poll_s = 0 if _at_rest(page) else STATES[page.state]
    return _ENVIRONMENT.get_template("pay.html.j2").render(
        p=page, say=said_in.say, language=said_in, prices=prices, poll_s=poll_s, figures=figures,
        key=figures.key(page), live=figures.live(page, prices, said_in),
        milestone=figures.spoken(page, said_in)[0], asset=assets.name_of,
        money=lambda minor: said_in.money(minor, page.currency),
        methods=[METHODS[name] or said_in.say(f"pay.{name}") for name in page.methods],
        detail=said_in.charger_says(page.detail) if page.detail else None,
        languages=[(language(code), _here(page, code)) for code in CODES],
    )  # fmt: skip


def status(page: PayPage, said_in: Language) -> dict[str, Any]:
    """What `links.status` answers, as JSON: {"key": the layout that this state has, "live": {place:
    text}, "milestone", "spoken": what is read aloud when the milestone has changed}."""
    milestone, spoken = figures.spoken(page, said_in)
    return {
        "key": figures.key(page), "live": figures.live(page, _prices(page, said_in), said_in),
        "milestone": milestone, "spoken": spoken,
    }  # fmt: skip


def headers(form_targets: Iterable[str] = ()) -> dict[str, str]:
    """The headers of a page and of its news. form_targets: origins to which a form's answer may
    redirect, which is where the provider takes payments: "https://checkout.stripe.com"."""
    policy = {
        "default-src": "'none'", "style-src": "'self'", "script-src": "'self'",
        "connect-src": "'self'", "img-src": "'self'", "base-uri": "'none'",
        "frame-ancestors": "'none'", "form-action": " ".join(["'self'", *form_targets]),
    }  # fmt: skip
    return {
        "Content-Security-Policy": "; ".join(f"{name} {what}" for name, what in policy.items()),
        "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff", "Vary": "Accept-Language",
    }  # fmt: skip


def _prices(page: PayPage, said_in: Language) -> price_list.PriceList | None:
    if page.table is None:
        return None
    return price_list.read(page.table, page.now_s, said_in, page.live)


def _at_rest(page: PayPage) -> bool:
    """Whether nothing more is to come."""
    if page.settled:
        return page.settled.captured_minor is not None
    return page.state == "not_started" and page.hold_state != "held"


def _here(page: PayPage, code: str) -> str:
    """This page in a language."""
    return "?" + urlencode({**page.query, "lang": code})


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True,
)  # fmt: skip
