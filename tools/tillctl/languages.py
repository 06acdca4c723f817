"""The languages of a driver's display: files in languages/, linted, and packed for a board."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from evtill.app import screens
from evtill.core import language, language_file
from evtill.core.errors import LanguageError
from evtill.drivers import font
from tillctl import firmware

FOLDER = firmware.ROOT / "languages"
TEXTS = "texts.toml"
# (columns, lines) that a text of each section has, and the letters of the displays beside ASCII.
PLACES = {"row": ((20, 1),), "narrow": ((20, 2), (11, 3)), "reason": ((20, 3),)}
_GRAPHIC = font.MORE.replace(b"\xa4", b"").decode("latin-1") + "€"
_DISPLAYS = {"SSD1306": _GRAPHIC, "HD44780": "äßñöü£°", "ASCII": ""}
_PLACE = re.compile(r"%[^%]?|\t")
_KEYS = {"name", "code", "decimal", "symbols", "texts"}


@dataclass
class Text:
    """A text of the firmware: its section, and the widest that may stand in its places."""

    english: str
    section: str
    values: list[str]


def texts() -> dict[str, Text]:
    """Every text that a driver can read, by its English."""
    given = tomllib.loads((FOLDER / TEXTS).read_text())
    return {english: Text(english, section, values)
            for section in PLACES for english, values in given[section].items()}  # fmt: skip


def technical() -> set[str]:
    """Texts of the firmware that no driver reads."""
    return set(tomllib.loads((FOLDER / TEXTS).read_text())["technical"]["texts"])


def names() -> list[str]:
    """The languages of languages/; English, which is in the firmware, first."""
    return ["en", *sorted(p.stem for p in FOLDER.glob("*.toml") if p.name != TEXTS)]


def load(name: str) -> bytes:
    """The board's file of a language: one of names(), or the path of a file. Raises LanguageError,
    OSError."""
    if name == "en":
        return b""  # nothing stands for any text
    if not name.endswith(".toml") and name not in names():
        raise LanguageError(f"no language {name!a}; there are {', '.join(names())}, or FILE.toml")
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    faults = check(path)
    if faults:
        raise LanguageError(f"{path}: {faults[0]}" + f" (and {len(faults) - 1} more)"
                            * (len(faults) > 1))  # fmt: skip
    given = tomllib.loads(path.read_text())
    return language_file.pack(
        given["code"], given["decimal"] == ",", given["symbols"],
        [(language.key(english), given["texts"][english].encode()) for english in texts()],
    )  # fmt: skip


def check(path: Path) -> list[str]:
    """What is wrong with a language's file, a line each. Raises OSError."""
    try:
        given = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        return [f"not TOML: {e}"]
    faults = _check_head(given)
    if faults:
        return faults
    known, said = texts(), given["texts"]
    faults += [f"missing: {english!a}" for english in known if english not in said]
    faults += [f"unknown text: {english!a}" for english in said if english not in known]
    for english, text in said.items():
        if english in known:
            faults += [f"{english!a}: {fault}" for fault in _check_text(known[english], text)]
    keys = [language.key(english) for english in known]
    if len(set(keys)) != len(keys):
        faults.append("two English texts have the same key: change one of them")
    if not faults and len(b"".join(map(str.encode, said.values()))) + 5 * len(said) + 12 > (
        language_file.MAX_BYTES
    ):
        faults.append(f"more than {language_file.MAX_BYTES} bytes")
    return faults


def _check_head(given: dict) -> list[str]:
    faults = [f"unknown key {key}; known: {', '.join(sorted(_KEYS))}" for key in given
              if key not in _KEYS]  # fmt: skip
    code = given.get("code")
    if not (isinstance(code, str) and re.fullmatch("[a-z]{2}", code)):
        faults.append("code: it must be a language's two letters (ISO 639-1)")
    if given.get("decimal") not in (",", "."):
        faults.append('decimal: it must be "," or "."')
    if not isinstance(given.get("symbols"), bool):
        faults.append("symbols: it must be true or false")
    if not isinstance(given.get("name"), str):
        faults.append("name: it must be the language's own name")
    if not isinstance(given.get("texts"), dict):
        faults.append("texts: there must be a table of them")
    return faults


def _check_text(known: Text, text: object) -> list[str]:
    if not isinstance(text, str) or not text.strip():
        return ["it must be a text"]
    strange = {c for c in text if not (" " <= c <= "~" or c == "\t" or c in _GRAPHIC)}
    if strange:
        return [f"no display has {', '.join(sorted(map(ascii, strange)))}"]
    if _PLACE.findall(text) != _PLACE.findall(known.english):
        wanted = " ".join(map(ascii, _PLACE.findall(known.english))) or "none"
        return [f"its places must be {wanted}, in this order"]
    for display, glyphs in _DISPLAYS.items():
        shown = language_file.fold(text.encode(), glyphs).decode()
        for place in PLACES[known.section]:
            fault = _overlong(known, shown, *place)
            if fault:
                return [f"{fault} ({display}: {shown!a})"]
    return []


def _overlong(known: Text, text: str, columns: int, rows: int) -> str:
    values = [int(value) if "%d" in text else value for value in known.values]
    filled = (text % tuple(values)).replace("\t", " ")
    lines = screens.wrap(filled, columns)
    if len(lines) > rows or any(len(line) > columns for line in lines):
        return f"{len(filled)} letters, which is more than {rows} lines of {columns}"
    if "".join(lines).replace(" ", "") != filled.replace(" ", "") or any(
        len(word) > columns for word in filled.split(" ")
    ):
        return f"a word is longer than {columns}"
    return ""
