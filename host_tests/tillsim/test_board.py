"""`tillsim board` as a technician uses it: a serial port that real mpremote talks to."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tillctl import firmware
from tillsim import bench_heap
from tillsim.board import NAMES_MAX, SILICON_KB, own_share

MPREMOTE = [sys.executable, "-m", "mpremote", "connect"]


@pytest.fixture
def board(tmp_path):
    """(path of the serial port, image) of a running virtual board."""
    image = tmp_path / "flash.img"
    process = subprocess.Popen(
        [sys.executable, "-m", "tillsim", "board", "--image", str(image)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield process.stdout.readline().strip(), image
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 130


def mpremote(port, *words, check=True):
    done = subprocess.run([*MPREMOTE, port, *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def test_files_survive_a_reset_and_hash_alike(board, tmp_path):
    port, _ = board
    content = os.urandom(3000)
    (tmp_path / "a.bin").write_bytes(content)
    mpremote(port, "fs", "cp", str(tmp_path / "a.bin"), ":a.bin")
    mpremote(port, "reset")
    assert "a.bin" in mpremote(port, "fs", "ls")
    import hashlib

    assert hashlib.sha256(content).hexdigest() in mpremote(port, "fs", "sha256sum", ":a.bin")
    assert mpremote(port, "exec", "print(6 * 7)").strip() == "42"


def interpreter_of(image):
    """Process id of the MicroPython that plays the board of `image`."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (process / "environ").read_bytes()
            if b"WIRING=" in environment and str(image).encode() in environment:
                return int(process.name)
    raise AssertionError("no interpreter found")


def test_an_error_on_the_board_is_mpremotes_error(board):
    port, _ = board
    done = subprocess.run([*MPREMOTE, port, "exec", "1/0"], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stdout + done.stderr


def test_ctrl_c_reaches_a_program_that_waits(board, tmp_path):
    port, _ = board
    (tmp_path / "main.py").write_text("import time\nwhile True: time.sleep(1)\n")
    mpremote(port, "fs", "cp", str(tmp_path / "main.py"), ":main.py", "+", "reset")
    time.sleep(0.5)  # the real board starts main.py in real time
    assert mpremote(port, "exec", "print('here')").strip() == "here"


def test_a_kill_in_the_middle_leaves_the_image_whole(board, tmp_path):
    port, image = board
    mpremote(port, "exec", "with open('kept', 'w') as f: f.write('yes')")
    os.kill(interpreter_of(image), signal.SIGKILL)
    assert mpremote(port, "fs", "cat", ":kept").strip() == "yes"


def test_flash_and_provision_by_their_commands(board, tmp_path):
    port, _ = board
    tillctl = [sys.executable, "-m", "tillctl"]
    tariff = firmware.ROOT / "tools" / "tillsim" / "demo" / "tariff.json"
    provision = [
        *tillctl, "provision", port, "--id", "DE*EVT*E000777", "--broker", "127.0.0.1:1",
        "--tariff", str(tariff), "--timezone", "Europe/Berlin", "--token", "04A2243B6C5E80",
        "--out", str(tmp_path), "--config", "broker_tls=off",
    ]  # fmt: skip
    first = subprocess.run(provision, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "no firmware on the board yet" in first.stdout
    assert "record key made on the board" in first.stdout
    pem = (tmp_path / "DE_EVT_E000777.pub.pem").read_text()
    again = subprocess.run([*tillctl, "flash", port], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "every file checked" in again.stdout
    second = subprocess.run(provision, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert "record key kept" in second.stdout
    assert (tmp_path / "DE_EVT_E000777.pub.pem").read_text() == pem
    assert oct((tmp_path / "DE_EVT_E000777.json").stat().st_mode)[-3:] == "600"


def test_no_board_is_said_in_one_line():
    done = subprocess.run([sys.executable, "-m", "tillctl", "flash", "/dev/no-such-port"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("tillctl: /dev/no-such-port: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("bits", [32, 64])
def test_the_heap_on_top_is_what_the_boards_own_python_costs(bits):
    """Not more, or the firmware would have more than an ESP32 leaves."""
    held, names = own_share(bits)
    table = 1280 * bits // 4
    assert 0 <= held + table - SILICON_KB[bits] * 1024 < 2048
    # Together they need that table, the firmware's names alone do not.
    assert NAMES_MAX - names < bench_heap.names() < NAMES_MAX
