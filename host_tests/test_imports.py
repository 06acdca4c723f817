"""The arrows of the house, checked from the code's own imports.

main -> app -> {net, drivers, core}; net -> core; drivers -> core.errors; core -> core;
boards' hwconfig -> drivers; tools -> core (and app's configuration table, and the meters' drivers,
which know no hardware).
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIRMWARE = ROOT / "firmware"

# room: (what it may import of evtill, what it must not import of the interpreter's)
_HARDWARE = {"machine", "esp32", "network", "neopixel", "framebuf"}
_WORLD = _HARDWARE | {"asyncio", "uasyncio", "time", "utime", "socket", "select", "os", "_thread"}
ROOMS = {
    "evtill/core": (("evtill.core",), _WORLD),
    "evtill/drivers": (("evtill.drivers", "evtill.core.errors"), _HARDWARE | {"socket", "os"}),
    "evtill/net": (("evtill.net", "evtill.core"), _HARDWARE - {"network"}),
    "evtill/app": (("evtill.app", "evtill.net", "evtill.drivers", "evtill.core"), _HARDWARE),
}
# Built-in modules of MicroPython whose names a module of ours must not take.
_BUILT_IN = {
    "array", "asyncio", "binascii", "builtins", "cmath", "collections", "cryptolib", "deflate",
    "errno", "gc", "hashlib", "heapq", "io", "json", "machine", "math", "micropython", "network",
    "os", "platform", "random", "re", "select", "socket", "ssl", "struct", "sys", "time", "tls",
    "uctypes", "vfs", "websocket",
}  # fmt: skip


def imports(path, package=""):
    """Dotted names of everything that a file imports, `from a import b` as a.b and a."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def within(name, allowed):
    return any(name == one or name.startswith(one + ".") for one in allowed)


def files(room):
    return sorted((FIRMWARE / room).rglob("*.py"))


def package_of(path):
    return ".".join(path.relative_to(FIRMWARE).parent.parts)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_arrows_allow(room):
    allowed, forbidden = ROOMS[room]
    assert files(room)
    for path in files(room):
        for name in imports(path, package_of(path)):
            top = name.split(".")[0]
            if top == "evtill":
                assert within(name, allowed), f"{path.relative_to(ROOT)} imports {name}"
            assert top not in forbidden, f"{path.relative_to(ROOT)} imports {name}"


def test_core_opens_no_files():
    for path in files("evtill/core"):
        calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not [c for c in calls if isinstance(c, ast.Name) and c.id == "open"], path


def test_main_imports_hwconfig_and_the_app_alone():
    assert imports(FIRMWARE / "main.py") == {"hwconfig", "evtill.app.compose"}


def test_only_hwconfig_imports_machine():
    boards = [p for p in (ROOT / "boards").rglob("*.py") if "silicon" not in p.parts]
    assert boards
    for path in boards + sorted(FIRMWARE.rglob("*.py")):
        if "machine" in {name.split(".")[0] for name in imports(path)}:
            assert path.name == "hwconfig.py"
            own = {n for n in imports(path) if n.startswith("evtill")}
            assert all(within(name, ("evtill.drivers",)) for name in own)


_FORMATS = (
    "evtill.core", "evtill.app.config", "evtill.drivers.meters", "evtill.drivers.modbus",
    "evtill.drivers.aio", "evtill.drivers.font", "evtill.app.screens",
)  # fmt: skip


def test_tools_reach_into_the_firmware_for_formats_only():
    for path in sorted((ROOT / "tools").rglob("*.py")):
        for name in imports(path):
            if name.startswith("evtill"):
                drives = path.name.startswith("card_port") and within(name, ("evtill.drivers",))
                assert drives or within(name, _FORMATS), f"{path}: {name}"


def test_no_module_is_named_after_a_built_in_one():
    for path in FIRMWARE.rglob("*.py"):
        assert path.stem not in _BUILT_IN, path
