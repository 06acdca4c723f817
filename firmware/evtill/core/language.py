"""The driver's language: what stands for each English text, and how amounts are written.

A text is found by 4 bytes below 0x20 that its English gives, which stand nowhere else among the
texts: one search through bytes, and a language takes little more of the heap than its texts.
"""

import binascii

_SYMBOLS = {"EUR": "€", "GBP": "£"}


def key(english):
    """The 4 bytes below 0x20 by which a text is found."""
    crc = binascii.crc32(english.encode())
    return bytes((crc >> 15 & 31, crc >> 10 & 31, crc >> 5 & 31, crc & 31))


class Language:
    """texts: for each its key, UTF-8 and 0x7F; none: English. comma: decimals have one, not a
    point. symbols: the letters of currencies that are written by them, where there are any."""

    def __init__(self, texts=b"", comma=False, symbols=""):
        self._texts = texts
        self._comma = comma
        self._symbols = symbols

    def say(self, english):
        """The text in this language; itself where there is none."""
        at = self._texts.find(key(english))
        if at < 0:
            return english
        return str(self._texts[at + 4 : self._texts.find(b"\x7f", at)], "utf-8")

    def number(self, decimal):
        """A decimal number (text with a point) as it is written here."""
        return decimal.replace(".", ",") if self._comma else decimal

    def amount(self, decimal, currency):
        """A decimal number of a currency (ISO 4217): "6.05", "EUR" -> "6,05 €".

        The amount first, as in most of the EU's languages (Interinstitutional style guide, 7.3.3);
        by its code where the display lacks the symbol, or the language does without."""
        symbol = _SYMBOLS.get(currency)
        if not (symbol and symbol in self._symbols):
            symbol = currency
        return self.number(decimal) + " " + symbol

    def money(self, minor, digits, currency):
        """Minor units as text: 605, 2, EUR -> "6.05 EUR"."""
        if not digits:
            return self.amount(str(minor), currency)
        whole, rest = divmod(abs(minor), 10**digits)
        sign = "-" if minor < 0 else ""
        return self.amount("%s%d.%0*d" % (sign, whole, digits, rest), currency)
