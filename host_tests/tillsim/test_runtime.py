"""Where an interpreter cannot be had, one line says what is missing and how to provide it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tillsim import debian, runtime


def test_a_machine_without_apt_is_told_how_to_go_on(tmp_path):
    """Another system, and nothing fetched before: as `make setup` runs it."""
    code = (
        "import sys, pathlib, tillsim.runtime as r; "
        f"r.RUNTIME = pathlib.Path({str(tmp_path)!r}); "
        "sys.argv[1:] = ['fetch']; sys.exit(r.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=os.environ | {"PATH": str(tmp_path)}, check=False)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("evtill: apt-get is missing, so MicroPython cannot be fetched: ")
    assert "MICROPYTHON=/path/to/micropython" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_name_is_told(monkeypatch):
    monkeypatch.setenv("MICROPYTHON", "/no/such/micropython")
    with pytest.raises(runtime.RuntimeMissing, match=r"MICROPYTHON=/no/such/micropython is not"):
        runtime.micropython(32)


def test_a_named_interpreter_serves(monkeypatch, tmp_path):
    """$MICROPYTHON goes before what was fetched."""
    named = tmp_path / "micropython"
    command = " ".join(f"'{word}'" for word in runtime.micropython(64))
    named.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    named.chmod(0o755)
    monkeypatch.setenv("MICROPYTHON", str(named))
    assert runtime.micropython(64) == [str(named)]
    said = subprocess.run([*runtime.micropython(64), "-c", "print(6 * 7)"], capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert said.stdout == "42\n"


@pytest.mark.parametrize("bits", [32, 64])
def test_the_interpreter_has_objects_of_the_width_asked_for(bits):
    code = "import sys; print(sys.maxsize == (1 << %d) - 1, sys.implementation[1] >= (1, 24))"
    said = subprocess.run([*runtime.micropython(bits), "-c", code % (bits - 1)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert said.stdout == "True True\n"


@pytest.mark.parametrize("site", ["http://mirror/debian", "mirror+file:/etc/apt/debian.list"])
def test_the_mirror_is_known_before_apt_was_ever_updated(monkeypatch, site):
    said = "".join(
        f"'{one}/dists/bookworm{part}/InRelease' mirror_debian_dists_bookworm_InRelease 0 \n"
        for one, part in (("http://other/debian-security", "-security"), (site, ""), (site, "-x"))
    )
    monkeypatch.setattr(debian.Apt, "run", lambda apt, *words: said)
    assert runtime._site.__wrapped__() == site


def test_a_machine_whose_apt_has_other_sources_is_told_so(monkeypatch):
    said = "'http://mirror/ubuntu/dists/noble/InRelease' mirror_ubuntu 0 \n"
    monkeypatch.setattr(debian.Apt, "run", lambda apt, *words: said)
    with pytest.raises(runtime.RuntimeMissing, match="apt names no Debian mirror"):
        runtime._site.__wrapped__()


def test_a_damaged_download_is_never_unpacked(tmp_path, monkeypatch):
    """What apt's helper fetched is compared with the pin once more."""
    evil = b"not the package"

    def fetched(command, **_):
        if command[0].endswith("apt-helper"):
            Path(command[3]).write_bytes(evil)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(runtime, "_site", lambda: "http://mirror/debian")
    monkeypatch.setattr(runtime.subprocess, "run", fetched)
    pin = [["pool/main/m/x/x_1_amd64.deb", hashlib.sha256(b"the package").hexdigest()]]
    assert runtime._download_pinned("x", "amd64", pin, tmp_path) is None
    pin[0][1] = hashlib.sha256(evil).hexdigest()
    assert runtime._download_pinned("x", "amd64", pin, tmp_path) is not None
