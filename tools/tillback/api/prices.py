"""What charging costs now, by a compact tariff table: as numbers, and in the words of the charger's
own display."""

import functools

from pydantic import Field

from evtill.core import language_file, price_words
from evtill.core.errors import LanguageError, TariffError
from evtill.core.language import Language
from evtill.core.pricing import Pricer
from evtill.core.tariff import Tariff
from tillback.api.fields import Said
from tillback.api.problems import invalid
from tillctl import languages

_LETTERS = "".join(map(chr, range(0xA1, 0x180))) + "€"  # a page has them all


class Component(Said):
    """A price in force. `price_micro` is 1e-6 of a currency unit for a kWh, an hour or a session,
    VAT excluded; `vat_ppm` null: VAT does not apply. `step`: Wh or seconds that are billed
    whole; 0 where there is nothing to count."""

    type: str
    price_micro: int
    vat_ppm: int | None
    step: int


class PriceSaid(Said):
    """What a session costs that starts now. `words`: the same in words, VAT included, in the order
    of Regulation (EU) 2023/1804. Limits are 1e-6 of a currency unit, of the whole session."""

    currency: str
    words: list[str]
    components: list[Component]
    min_excl_micro: int | None
    min_incl_micro: int | None
    max_excl_micro: int | None
    max_incl_micro: int | None
    until_s: int | None = Field(description="Unix seconds of the next change that is known")


@functools.cache
def language(code: str) -> Language:
    """A language of languages/. Raises Problem."""
    if code not in languages.names():
        raise invalid("query/language", f"there are {', '.join(languages.names())}")
    if code == "en":
        return Language(symbols="€£")
    try:
        return language_file.parse(languages.load(code), _LETTERS)
    except LanguageError as error:
        raise invalid("query/language", str(error)) from None


def now(table: bytes, unix_s: int, spoken: Language) -> PriceSaid | None:
    """The price by a compact table; None where it is not valid now."""
    try:
        pricer = Pricer(Tariff(table), unix_s * 1000, 0)
    except TariffError:
        return None
    components, change_ms = pricer.price_now()
    tariff = pricer.tariff
    (min_excl, min_incl), (max_excl, max_incl) = tariff.min_price, tariff.max_price
    return PriceSaid(
        currency=tariff.currency,
        words=[_in_words(one, spoken) for one in price_words.preview(pricer, spoken)],
        components=[
            Component(type=kind, price_micro=price, vat_ppm=vat, step=step)
            for kind, price, vat, step in components
        ],
        min_excl_micro=min_excl, min_incl_micro=min_incl, max_excl_micro=max_excl,
        max_incl_micro=max_incl, until_s=None if change_ms is None else change_ms // 1000,
    )  # fmt: skip


def _in_words(text: str | tuple[str, ...], spoken: Language) -> str:
    if isinstance(text, str):
        return str(spoken.say(text))
    return str(spoken.say(text[0]) % tuple(text[1:]))
