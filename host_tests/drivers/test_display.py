"""The text model of the display."""

import pytest

from evtill.drivers.display import TextDisplay, codes
from host_tests.fakes.i2c import settle


def display():
    shown = []
    return TextDisplay(lambda lines, qr: shown.append((lines, qr))), shown


def test_lines_are_padded_and_cut_to_20():
    panel, shown = display()
    panel.show(["a", "x" * 25])
    settle(panel)
    assert shown == [(["a" + " " * 19, "x" * 20, " " * 20, " " * 20], None)]


def test_rendered_only_on_change():
    panel, shown = display()
    for text, to_send in (("a", True), ("a", False), ("b", True)):
        assert panel.show([text]) is to_send
        settle(panel)
    assert len(shown) == 2


def test_a_fifth_line_is_not_shown():
    panel, shown = display()
    panel.show(list("abcde"))
    settle(panel)
    assert [line.strip() for line in shown[0][0]] == list("abcd")


def test_the_text_display_shows_printable_ascii():
    panel, shown = display()
    panel.show(["Grüße €5\n\x00~"])
    settle(panel)
    assert shown[0][0][0].rstrip() == "Gr??e ?5??~"


@pytest.mark.parametrize(
    ("text", "code"), [("é", 0xE9), ("€", 0xA4), ("¤", 0x3F), ("\x85", 0x3F), ("漢", 0x3F),
                       ("😀", 0x3F), ("~", 0x7E), ("\x7f", 0x3F), ("ÿ", 0xFF)],
)  # fmt: skip
def test_letters_are_those_of_iso_8859_1_and_the_euro_sign(text, code):
    assert codes("a" + text + "b", 4) == bytes([0x61, code, 0x62, 0x20])


def test_what_failed_to_be_rendered_is_tried_again():
    shown = []

    def render(lines, qr):
        shown.append(lines)
        if len(shown) == 1:
            raise OSError

    panel = TextDisplay(render)
    panel.show(["a"])
    with pytest.raises(OSError):
        panel.step()
    settle(panel)
    assert len(shown) == 2


def test_the_callers_list_is_not_kept():
    panel, shown = display()
    lines = ["a"]
    panel.show(lines)
    lines[0] = "b"
    settle(panel)
    assert shown[0][0][0].rstrip() == "a"
