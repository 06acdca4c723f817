"""The virtual board's start: mounts the flash image as /, runs boot.py and main.py, then serves
the REPL: friendly and raw, as mpremote speaks them."""

import sys

import sim_asyncio
import sim_thread

# The board's own modules take the place of the built-in ones before anything imports those;
# time, select, socket, machine, ssl and network are found on the path first, these two are not.
sys.modules["_thread"] = sim_thread
sys.modules["_asyncio"] = sim_asyncio
sys.modules["vfs"] = __import__("virtual_vfs")

import io  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402, F401
import socket  # noqa: E402
import ssl  # noqa: E402, F401

import link  # noqa: E402
import machine  # noqa: E402
import network  # noqa: E402, F401  (loaded while the PC's files can still be reached)
import umqtt.simple  # noqa: E402, F401
import virtual_vfs as vfs  # noqa: E402
from machine import RAW_RESET_EXIT, SOFT_RESET_EXIT  # noqa: E402

_WINDOW = 1024  # bytes of a paste; link.repl_input has room for the two under way at most
# So many more names than it has that the firmware's, 1,000 or so, never fit into the interpreter's
# table together with its own: then what it costs does not hang on how many these are.
dict(**{"%03d" % number: None for number in range(400)})

_RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
_BANNER = b"\r\nMicroPython on the evtill virtual board\r\nType Ctrl-A for the raw prompt\r\n>>> "


class Console:
    """The REPL's stream: bytes in both directions, over the process's own stdin and stdout."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, data):
        self.stream.write(data)

    def next_byte(self):
        while not link.repl_input:
            link.advance(-1)
        byte = link.repl_input[0]
        link.repl_input[:1] = b""
        return byte


def run(source, name, mode, scope, errors):
    """Executes source text; a traceback goes to the stream `errors`. SystemExit is a reset."""
    link.program_running[0] = True
    try:
        exec(compile(source, name, mode), scope)
    except SystemExit:
        raise
    except BaseException as e:  # noqa: BLE001  (a prompt shows whatever it is)
        sys.print_exception(e, errors)
    finally:
        link.program_running[0] = False


def run_file(name, console):
    try:
        with open(name) as f:
            source = f.read()
    except OSError:
        return
    run(source, name, "exec", {"__name__": "__main__"}, console.stream)


def read_paste(console):
    """What is pasted up to Ctrl-D; the sender is told of each window that has been taken."""
    console.write(b"R\x01" + bytes((_WINDOW & 0xFF, _WINDOW >> 8)))
    source = bytearray()
    while True:
        byte = console.next_byte()
        if byte == 4:
            console.write(b"\x04")
            return source or b"\n"
        if byte == 3:
            console.write(b"\x04")
            return b"raise KeyboardInterrupt"
        source.append(byte)
        if len(source) % _WINDOW == 0:
            console.write(b"\x01")


def read_block(console):
    """Raw REPL input up to Ctrl-D, acknowledged, or None where Ctrl-B left the raw prompt."""
    source = bytearray()
    while True:
        byte = console.next_byte()
        if byte == 4:
            console.write(b"OK")
            return source
        if byte == 2:
            return None
        if byte in (1, 3):
            source = bytearray()
            if byte == 1:
                console.write(_RAW_BANNER)
        elif byte == 5 and not source:
            console.next_byte(), console.next_byte()  # "A\x01": raw paste
            return read_paste(console)
        else:
            source.append(byte)


def serve_raw(console, scope):
    console.write(_RAW_BANNER)
    while True:
        source = read_block(console)
        if source is None:
            return
        if not source:
            console.write(b"\r\nMPY: soft reboot\r\n")
            sys.exit(RAW_RESET_EXIT)
        errors = io.StringIO()
        run(bytes(source).decode(), "<stdin>", "exec", scope, errors)
        console.write(b"\x04" + errors.getvalue().encode() + b"\x04>")


def serve_friendly(console, scope):
    console.write(_BANNER)
    line = bytearray()
    while True:
        byte = console.next_byte()
        if byte == 1:
            serve_raw(console, scope)
            console.write(_BANNER)
        elif byte == 4 and not line:
            console.write(b"\r\nMPY: soft reboot\r\n")
            sys.exit(SOFT_RESET_EXIT)
        elif byte in (2, 3):
            line = bytearray()
            console.write(b"\r\n>>> ")
        elif byte in (10, 13):
            console.write(b"\r\n")
            if line:
                run(bytes(line).decode(), "<stdin>", "single", scope, console.stream)
            line = bytearray()
            console.write(b">>> ")
        else:
            line.append(byte)
            console.write(bytes((byte,)))


def main():
    wiring = json.loads(os.getenv("WIRING"))
    wiring["open"] = open
    socket.name_server[0] = wiring["name_server"]
    socket.ports.update(wiring["ports"])
    machine.wire_up(wiring)
    if machine.panel != "text":
        import neopixel  # noqa: F401  (as above)
    root = machine.Partition("vfs")
    repl = open(0, "r+b")
    link.attach(open(wiring["control"], "r+b"), repl)
    try:
        filesystem = vfs.VfsLfs2(root)
    except OSError:
        vfs.VfsLfs2.mkfs(root)  # the firmware's partition only, as the ESP32's own start-up does
        filesystem = vfs.VfsLfs2(root)
    machine.mount_rom()
    vfs.umount("/")
    vfs.umount("/silicon")
    vfs.mount(filesystem, "/")
    sys.path[:] = ["", ".frozen", "/lib", "/rom", "/rom/lib"]
    console = Console(repl)
    scope = {"__name__": "__main__"}
    if wiring["mode"] == "raw":
        run_file("boot.py", console)
        serve_raw(console, scope)
    else:
        run_file("boot.py", console)
        run_file("main.py", console)
    while True:
        serve_friendly(console, scope)
