"""The text model of the display."""

import pytest

from evtill.drivers.display import TextDisplay, fit


def test_lines_are_padded_and_cut_to_20():
    shown = []
    TextDisplay(shown.append).show(["a", "x" * 25])
    assert shown == [["a" + " " * 19, "x" * 20, " " * 20, " " * 20]]


def test_rendered_only_on_change():
    shown = []
    display = TextDisplay(shown.append)
    assert [display.show(["a"]), display.show(["a"]), display.show(["b"])] == [True, False, True]
    assert len(shown) == 2


def test_a_fifth_line_is_not_shown():
    shown = []
    TextDisplay(shown.append).show(list("abcde"))
    assert [line.strip() for line in shown[0]] == list("abcd")


def test_only_printable_ascii_is_shown():
    assert fit("Grüße €5\n\x00~").rstrip() == "Gr??e ?5??~"


def test_what_failed_to_be_rendered_is_tried_again():
    shown = []

    def render(lines):
        shown.append(lines)
        if len(shown) == 1:
            raise OSError

    display = TextDisplay(render)
    with pytest.raises(OSError):
        display.show(["a"])
    assert display.show(["a"])
    assert len(shown) == 2


def test_the_callers_list_is_not_kept():
    display = TextDisplay(lambda lines: None)
    lines = ["a"]
    display.show(lines)
    lines[0] = "b"
    assert display.show(lines)
