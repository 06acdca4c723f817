"""Programs that come without being installed, and what is said where they cannot come."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from host_tests import programs
from tillsim import debian
from tillsim.broker import Broker
from tillsim.postgres import Postgres

GLIBC = ("libc.", "libm.", "libdl.", "libpthread.", "librt.", "libresolv.", "libanl.", "ld-linux")


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine on which nothing is installed, and nothing has been fetched."""
    monkeypatch.setattr(debian, "FOLDER", tmp_path / "debian")
    monkeypatch.setattr(debian, "STATUS", tmp_path / "status")
    monkeypatch.setattr(debian, "_failed", {})
    monkeypatch.setattr(debian, "installed", lambda name: None)
    debian.STATUS.touch()
    return tmp_path


def package(folder, files):
    """A .deb of {path: text}, made by dpkg itself."""
    tree = folder / "tree"
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
        (tree / path).chmod(0o755)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    )
    subprocess.run(["dpkg-deb", "--build", tree, folder / "x.deb"], check=True, capture_output=True)
    return folder / "x.deb"


def test_a_broker_from_nothing(bare):
    """It serves, and every library that it runs on but the C library has been fetched."""
    programs.program("mosquitto")
    with Broker(0, {"a": "b"}, bare / "broker") as broker:
        assert broker.engine == "mosquitto"
        maps = Path(f"/proc/{broker._runner._process.pid}/maps").read_text()
    check_libraries(maps, bare)


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: make soak")
def test_a_database_from_nothing(bare):
    programs.program("postgres")
    with Postgres() as server:
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        check_libraries(maps, bare if str(bare) in maps else server.folder)


def check_libraries(maps, folder):
    mapped = {Path(line.split()[5]) for line in maps.splitlines() if ".so" in line}
    assert len(mapped) > 5
    foreign = {file.name for file in mapped if folder not in file.parents}
    assert not [name for name in foreign if not name.startswith(GLIBC)]


def test_it_is_fetched_once_however_many_ask(bare, monkeypatch):
    deb = package(bare, {"usr/sbin/mosquitto": "#!/bin/sh\necho $LD_LIBRARY_PATH\n",
                         "usr/lib/here/libx.so.1": ""})  # fmt: skip
    asked = []
    monkeypatch.setattr(debian, "_download", lambda name, scratch: asked.append(name) or [deb])
    with ThreadPoolExecutor(4) as pool:
        commands = list(pool.map(debian.program, ["mosquitto"] * 8))
    assert asked == ["mosquitto"]
    said = subprocess.run(commands[0], capture_output=True, text=True, check=True).stdout
    assert said == f"{debian.FOLDER}/mosquitto/usr/lib/here\n"
    assert [one.name for one in debian.FOLDER.iterdir() if one.is_dir()] == ["mosquitto"]


def test_a_package_without_the_program_is_not_kept(bare, monkeypatch):
    deb = package(bare, {"usr/bin/other": ""})
    monkeypatch.setattr(debian, "_download", lambda name, scratch: [deb])
    with pytest.raises(debian.DebianMissing, match="mosquitto is not installed and cannot be had"):
        debian.program("mosquitto")
    assert [one.name for one in debian.FOLDER.iterdir()] == ["mosquitto.lock"]


def test_a_damaged_package_is_said(bare, monkeypatch):
    (bare / "x.deb").write_bytes(b"not a package")
    monkeypatch.setattr(debian, "_download", lambda name, scratch: [bare / "x.deb"])
    with pytest.raises(debian.DebianMissing, match=r"dpkg -x x.deb: "):
        debian.program("mosquitto")


def test_no_apt_is_said_in_one_line_and_tried_once(bare, monkeypatch):
    monkeypatch.setenv("PATH", str(bare))
    for _ in range(2):
        with pytest.raises(debian.DebianMissing) as caught:
            debian.program("mosquitto")
        assert str(caught.value) == (
            "Debian's package mosquitto is not installed and cannot be had: apt-get is missing"
        )
        monkeypatch.setattr(debian, "_download", None)


def test_another_system_is_said(bare):
    debian.STATUS.unlink()
    with pytest.raises(debian.DebianMissing, match="cannot be had: this is no Debian"):
        debian.program("postgres")


def test_an_unreachable_mirror_is_said(tmp_path):
    """apt itself calls an update without a network a success."""
    (tmp_path / "sources").write_text("deb [trusted=yes] http://127.0.0.1:9/debian x main\n")
    try:
        apt = debian.Apt(tmp_path / "apt", "", (f"Dir::Etc::sourcelist={tmp_path}/sources",
                                                "Dir::Etc::sourceparts=-"))  # fmt: skip
    except debian.DebianMissing as e:
        pytest.skip(str(e))
    with pytest.raises(debian.DebianMissing, match=r"Failed to fetch .*127\.0\.0\.1"):
        for words in (["update"], ["install", "--download-only", "--yes", "mosquitto"]):
            apt.run(*words)


def test_what_is_installed_goes_first(monkeypatch, tmp_path):
    (tmp_path / "mosquitto").write_text("#!/bin/sh\n")
    (tmp_path / "mosquitto").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.program("mosquitto") == [str(tmp_path / "mosquitto")]
