"""The languages of the display: whole, within their places, and found out where they are not."""

import ast
import re

import pytest

from evtill.app import screens
from evtill.core import language, language_file
from evtill.core.errors import ConfigError, LanguageError
from tillctl import languages, provision
from tillctl.__main__ import main as tillctl
from tillctl.firmware import ROOT

FIRMWARE = ROOT / "firmware" / "evtill"
# What these say is for technicians, the backend, or a file.
_NOT_FOR_DRIVERS = {
    "clock", "commands", "compose", "config", "events", "files", "flash_store", "identity",
    "provisioning", "signed_record", "supervisor", "tariff_files", "token_fetch", "token_intake",
    "token_store", "uplink",
}  # fmt: skip
_SOURCES = [
    *(p for p in sorted((FIRMWARE / "app").glob("*.py")) if p.stem not in _NOT_FOR_DRIVERS),
    FIRMWARE / "core" / "session.py", FIRMWARE / "core" / "tokens.py",
    FIRMWARE / "core" / "price_words.py", FIRMWARE / "net" / "payment_api.py",
]  # fmt: skip
_SAYS = {"refused", "out_of_order", "_start_refused", "_say_refused", "say"}


def said_in(path):
    """The text constants of a source that somebody may read: of several words, or of one where a
    reason or a line is given."""
    tree = ast.parse(path.read_text())
    skipped, single = set(), set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            skipped.add(id(body[0].value))  # a docstring, if it is one
        if isinstance(node, ast.Assign):
            for target in node.targets:
                name = getattr(target, "attr", getattr(target, "id", ""))
                if name in ("STATES", "EVENTS"):
                    skipped |= {id(n) for n in ast.walk(node.value)}
                elif name == "why":
                    single.add(id(node.value))
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in _SAYS:
                single |= {id(argument) for argument in node.args}
        elif isinstance(node, ast.List) and path.stem in ("screens", "plug_side", "face"):
            single |= {id(n) for n in ast.walk(node) if isinstance(n, ast.Constant)}
        elif isinstance(node, ast.Dict) and path.stem == "price_words":
            single |= {id(value) for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (
            id(node) not in skipped
        ):
            yield from _texts_of(path, node.value, id(node) in single)


def _texts_of(path, text, is_single):
    if "\n" in text.strip():  # a table
        for line in text.strip().splitlines():
            yield line.partition(":")[2] if path.stem == "screens" else line.split(" ", 3)[3]
    elif re.search("[A-Za-z]{2}", text.replace("%s", "")) and (is_single or " " in text.strip()):
        yield text


def test_every_text_is_for_drivers_and_translated_or_for_nobody_of_them():
    known = set(languages.texts()) | languages.technical()
    found = {text for path in _SOURCES for text in said_in(path)}
    assert sorted(found - known) == [], (
        "put these into languages/texts.toml: with a place where drivers read them, and then into "
        "each language; else under [technical]"
    )
    assert sorted(known - found) == [], "nobody says these any more"


def test_the_extraction_sees_what_a_driver_reads(tmp_path):
    source = tmp_path / "screens.py"
    source.write_text(
        '"""Doc string."""\n'
        'def f(self):\n    "Another one."\n'
        '    self.why = "melted"\n    return self._start_refused("gone"), "refused", "no luck"\n'
        'def g():\n    return "idle", ["Welcome", ("%s left", 3)], []\n'
    )
    assert set(said_in(source)) == {"melted", "gone", "no luck", "Welcome", "%s left"}


@pytest.mark.parametrize("name", languages.names())
def test_each_language_is_whole_and_fits(name, capsys):
    data = languages.load(name)
    if name == "en":
        assert data == b""
        return
    assert tillctl(["language", "check", str(languages.FOLDER / f"{name}.toml")]) == 0
    assert len(data) <= 3584, "so much of a board's heap"
    spoken = language_file.parse(data, languages._GRAPHIC)
    for english in languages.texts():
        assert spoken.say(english) != english or english in SAME, english
    assert spoken.say("no such text") == "no such text"
    assert spoken.number("11.60") == "11,60"
    assert spoken.money(605, 2, "EUR") == "6,05 €" and spoken.money(605, 2, "CHF") == "6,05 CHF"


SAME = {"%s kWh\t%s kW", "%s kWh", "%s/kWh", "%s/min", "%s/session", "Total\t%s"}


def test_english_fits_as_well(tmp_path):
    file = tmp_path / "en.toml"
    lines = [f'"{english}" = "{english}"'.replace("\t", "\\t") for english in languages.texts()]
    file.write_text('name = "English"\ncode = "en"\ndecimal = "."\nsymbols = false\n[texts]\n'
                    + "\n".join(lines))  # fmt: skip
    assert languages.check(file) == []


def test_a_display_without_its_letters_gets_others():
    data = languages.load("de")
    plain = language_file.parse(data, "")
    some = language_file.parse(data, "äöüß")
    assert plain.say("Out of order") == "Ausser Betrieb"
    assert some.say("Out of order") == "Außer Betrieb"
    assert plain.say("meter does not answer") == "Zaehler antwortet nicht"
    assert plain.money(5, 2, "EUR") == some.money(5, 2, "EUR") == "0,05 EUR"


def german(old, new):
    text = (languages.FOLDER / "de.toml").read_text()
    assert old in text
    return text.replace(old, new, 1)


WRONG = [
    ('"In use" = "Belegt"\n', "", "missing: 'In use'"),
    ('"In use"', '"In Use"', "unknown text: 'In Use'"),
    ('"Belegt"', '"Gerade von jemandem belegt"', "more than 1 lines of 20"),
    ('"%s/Ladung"', '"%s/Ladevorgang"', "a word is longer than 11"),
    ('"bis %s"', '"bis %d"', "its places must be '%s'"),
    ('"Lädt\\t%s"', '"Lädt %s"', "its places must be '\\t' '%s'"),
    ('"bis %s"', '"bis %s %"', "its places must be"),
    ('"Belegt"', '"Бelegt"', "no display has '\\u0411'"),
    ('"Belegt"', '"a\\nb"', "no display has '\\n'"),
    ('"Belegt"', '" "', "it must be a text"),
    ('"Belegt"', "5", "it must be a text"),
    ('code = "de"', 'code = "deu"', "code: it must be"),
    ('decimal = ","', 'decimal = ";"', 'decimal: it must be "," or "."'),
    ("symbols = true", 'symbols = "yes"', "symbols: it must be true or false"),
    ('name = "Deutsch"', 'title = "Deutsch"', "unknown key title"),
    ("[texts]", "[texte]", "unknown key texte"),
    ('"Belegt"', "Belegt", "not TOML"),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_what_is_wrong_with_a_file_is_said(tmp_path, capsys, old, new, said):
    file = tmp_path / "de.toml"
    file.write_text(german(old, new))
    assert tillctl(["language", "check", str(file)]) == 1
    assert said in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"--language: .*de\.toml"):
        provision.language(str(file))


def test_letters_that_take_two_where_a_display_lacks_them_count(tmp_path):
    file = tmp_path / "de.toml"
    file.write_text(german('"Bereit: Karte zeigen"', '"Bereit: Kärtchen da!"'))
    (fault,) = languages.check(file)
    assert "21 letters" in fault and "ASCII: 'Bereit: Kaertchen da!'" in fault


@pytest.mark.parametrize("name", ["xx", "../de", "texts", "nosuch.toml"])
def test_a_language_that_is_not_there(name):
    with pytest.raises((ConfigError, OSError)):
        provision.language(name)


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_a_damaged_file_is_never_taken(cut):
    data = languages.load("de")
    for spoilt in (data[:cut], data[:-1 - cut], data[:cut] + b"\xff" + data[cut + 1 :],
                   data + bytes(language_file.MAX_BYTES)):  # fmt: skip
        with pytest.raises(LanguageError):
            language_file.parse(spoilt, "")


def test_keys_stand_nowhere_else():
    data = languages.load("de")
    for english in languages.texts():
        assert data.count(language.key(english)) == 1


def test_a_tab_fills_the_line_in_every_language():
    for name in languages.names()[1:]:
        spoken = language_file.parse(languages.load(name), "")
        screen = "x", [("Charging\t%s", "1:09:51")], []
        (line,) = screens.lay_out(spoken.say, screen, 20, 4)[0]
        assert len(line) == 20 and line.endswith(" 1:09:51")


def test_the_list_names_them(capsys):
    assert tillctl(["language", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "de  Deutsch"
