"""Linked modules do what they did apart."""

import subprocess
import sys

import pytest

from tillctl import firmware, flash
from tillctl.link import link

SOURCES = {
    "p/numbers.py": """
LIMIT = 1 << 4
_HUGE = const(1 << 40)
LOW, HIGH = -3, LIMIT + 1
NAMES = ("a", "b")
def limit(): return LIMIT + _HUGE
""",
    "p/parts.py": """
import json
from p.numbers import LIMIT, limit
from p import numbers as n
_state = [0]
class Part:
    LIMIT = "the class's"
    def total(self, limit):
        _state[0] += limit
        return _state[0] + LIMIT + n.HIGH, self.LIMIT, len(n.NAMES)
def helper(size=LIMIT): return [LIMIT for LIMIT in range(2)], size, limit()
""",
    "p/main.py": """
import json
from p.parts import Part as Thing
_state = "main's"
def helper(Part=None):
    from p.parts import helper, limit
    from p import late
    return helper(), limit(), _state, Thing().total(1), late.answer(), Part, json.dumps([1])
""",
    "p/late.py": """
from p import numbers, parts
from p.numbers import LIMIT, limit as bound
def answer(): return numbers.LIMIT, parts.helper(), LIMIT, bound(), parts._state
""",
    "config.py": "from p.numbers import NAMES, HIGH\nresult = NAMES, HIGH\n",
    "p/__init__.py": "",
}


def run(sources, tmp_path, call):
    """What `call` gives in a CPython that imports `sources`."""
    for name, text in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    code = f"import builtins\nbuiltins.const = lambda x: x\n{call}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


CALL = "import config\nfrom p import main\nprint(main.helper(), main.helper(7), config.result)"


def test_what_is_linked_does_the_same(tmp_path):
    after = link(SOURCES, "p.main", ("config", "p.main"))
    assert sorted(after) == ["config.py", "p/__init__.py", "p/late.py", "p/main.py"]
    said = run(after, tmp_path / "after", CALL)
    assert said == run(SOURCES, tmp_path / "before", CALL)
    assert "1099511627792" in said


def test_integers_stand_in_the_code_and_imports_are_gone():
    after = link(SOURCES, "p.main", ("config", "p.main"))
    for name, text in after.items():
        assert "p.numbers" not in text and "p.parts" not in text, name
    assert "HIGH" not in "".join(after.values())
    assert "LOW" not in after["p/main.py"]
    # Folded by the compiler wherever it stands: no other name may be the same.
    assert after["p/main.py"].count("import json") == 1
    assert "_HUGE = " not in after["p/main.py"] and "_HUGE_" in after["p/main.py"]


@pytest.mark.parametrize(("code", "why"), [
    ("from p import numbers\nkeep = [numbers]\n", "uses the module p.numbers as a value"),
    ("from p import numbers\ndef f(): return numbers.nothing\n", "p.numbers has no nothing"),
    ("_n = 0\ndef f():\n    global _n\n    _n += 1\n", "line 4: global names"),
    ("from p import main\n", "p.main imports itself"),
    ("from p.numbers import limit\ntry: limit()\nexcept OSError: limit = 3\n",
     "binds limit twice, once by import"),
])  # fmt: skip
def test_what_cannot_be_linked_is_refused(code, why):
    with pytest.raises(ValueError, match=why):
        link(SOURCES | {"p/main.py": code}, "p.main", ("p.main",))


def test_a_board_without_a_module_to_link_into_is_refused():
    with pytest.raises(ValueError, match=r"p\.nothing"):
        link(SOURCES, "p.nothing", ("p.main",))


def test_a_chargers_tree_has_the_linked_modules_in_one():
    tree = flash.tree("virtual")
    names = {p.relative_to(tree).as_posix() for p in tree.rglob("*.mpy")}
    assert {"evtill/app/compose.mpy", "evtill/app/config.mpy", "hwconfig.mpy"} <= names
    for module in set(firmware.LINKED) - {firmware.LINKED_INTO, "hwconfig"}:
        assert module.replace(".", "/") + ".mpy" not in names, module
        assert (firmware.ROOT / "firmware" / module.replace(".", "/")).with_suffix(".py").exists()
