"""The languages of what drivers read: texts, and amounts, dates and days as they are written there.

The texts are in languages/, one file each; CLDR, by way of Babel, knows the rest."""

import datetime
import re
import tomllib
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from babel import Locale, dates, lists, numbers

from tillctl import languages as displays
from tillctl.tariff_model import DAY_ZERO, minor_digits

FOLDER = Path(__file__).parent / "languages"
CODES = ("en", "de", "fr", "nl", "es")  # the first is what strangers to all of them get
_HEADER_MAX = 200  # of Accept-Language
_RANGE = re.compile(
    r"\s*([A-Za-z]{2})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?"
)
_NBSP = "\N{NO-BREAK SPACE}"


class Language:
    """One of CODES: `name` is what it calls itself. As core.price_words takes it, too."""

    def __init__(self, code: str) -> None:
        """Raises OSError, tomllib.TOMLDecodeError, KeyError for a language that is not there."""
        given = tomllib.loads((FOLDER / f"{code}.toml").read_text(encoding="utf-8"))
        about = given.pop("language")
        self.code = code
        self.name: str = about["name"]
        self._locale = Locale.parse(about["locale"])
        self._texts = {f"{section}.{key}": text for section, texts in given.items()
                       for key, text in texts.items()}  # fmt: skip

    def texts(self) -> dict[str, str]:
        """Every text by `section.key`."""
        return dict(self._texts)

    def say(self, key: str, **values: object) -> str:
        """The text of a key, its places filled. Raises KeyError for one that there is not."""
        return self._texts[key].format(**values)

    def charger_says(self, english: str) -> tuple[str, str]:
        """(what a charger said, in this language if its display has that; the language's code)."""
        known = _display(self.code).get(english)
        return (english, "en") if known is None else (known, self.code)

    # --- amounts ----------------------------------------------------------------------------------

    def amount(self, decimal: str, currency: str) -> str:
        """A decimal number of a currency: "0.5831", "EUR" -> "0,5831 €"; all of its decimals, and
        the currency's own at least."""
        text = numbers.format_currency(Decimal(decimal), currency, locale=self._locale,
                                       decimal_quantization=False)  # fmt: skip
        return re.sub(r"(?<=[A-Z])(?=\d)", _NBSP, text).replace(" ", _NBSP)

    def money(self, minor: int, currency: str) -> str:
        """Minor units: 605, "EUR" -> "6,05 €"."""
        return self.amount(str(Decimal(minor).scaleb(-minor_digits(currency))), currency)

    def number(self, value: Decimal, decimals: int = 0) -> str:
        """With so many decimals at least, and all that it has."""
        pattern = "#,##0." + "0" * decimals + "#" * 9
        return numbers.format_decimal(value, format=pattern, locale=self._locale)

    def percent(self, share: Decimal) -> str:
        """0.19 -> "19 %"."""
        text = numbers.format_percent(share, locale=self._locale, decimal_quantization=False)
        return text.replace(" ", _NBSP)

    def listed(self, items: Iterable[str]) -> str:
        """"a, b and c"."""
        return lists.format_list(list(items), locale=self._locale)

    # --- time -------------------------------------------------------------------------------------

    def duration(self, seconds: int) -> str:
        """4620 -> "1 h 17 min", in SI's symbols, which every language shares."""
        parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
        shown = [f"{n}{_NBSP}{unit}" for n, unit in parts if n]
        return _NBSP.join(shown) or f"0{_NBSP}s"

    def clock(self, minute: int) -> str:
        """Minutes of the day: 480 -> "08:00"; also 1440."""
        if minute == 1440:
            return "24:00"
        return dates.format_time(datetime.time(minute // 60, minute % 60), "HH:mm",
                                 locale=self._locale)  # fmt: skip

    def day(self, unix_day: int) -> str:
        """"2 Mar 2026"."""
        day = (DAY_ZERO + datetime.timedelta(days=unix_day)).date()
        return dates.format_date(day, "medium", locale=self._locale).replace(" ", _NBSP)

    def days(self, mask: int) -> str:
        """Days of the week, bit 0 Monday: 0b11111 -> "Mon-Fri"."""
        names = dates.get_day_names("abbreviated", "stand-alone", self._locale)
        runs: list[list[int]] = []
        for day in range(7):
            if mask >> day & 1:
                if runs and runs[-1][-1] == day - 1:
                    runs[-1].append(day)
                else:
                    runs.append([day])
        joints = {1: "", 2: f",{_NBSP}"}
        return ", ".join(
            names[run[0]] + (joints.get(len(run), "\N{EN DASH}") + names[run[-1]]) * (len(run) > 1)
            for run in runs
        )


@lru_cache
def language(code: str) -> Language:
    """The language of one of CODES."""
    return Language(code)


def choose(asked: str | None, accept: str | None) -> Language:
    """The language that is asked for by its code, else the one of ours that an Accept-Language
    header (RFC 9110, 12.5.4) likes best, else English."""
    if asked in CODES:
        return language(asked)
    liked = []
    for place, item in enumerate((accept or "")[:_HEADER_MAX].split(",")):
        found = _RANGE.fullmatch(item)
        if found and found[1].lower() in CODES and float(found[2] or 1) > 0:
            liked.append((-float(found[2] or 1), place, found[1].lower()))
    return language(min(liked)[2] if liked else CODES[0])


@lru_cache
def _display(code: str) -> dict[str, Any]:
    """What the display of a charger says for its English texts."""
    if code == "en":
        return {english: english for english in displays.texts()}
    file = displays.FOLDER / f"{code}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))["texts"]
