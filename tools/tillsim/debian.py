"""Programs that need no installing: Debian's packages, unpacked into build/debian without root.

An installed program goes first. Else its package comes, with all that it depends on and this
machine lacks, from wherever the machine's own apt is told to look; apt checks it against the
signed index."""

import fcntl
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tillctl.firmware import BUILD

FOLDER = BUILD / "debian"
STATUS = Path("/var/lib/dpkg/status")  # what this machine has
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # not on everybody's PATH
PROGRAMS = {  # name: (package, where in it the program is)
    "chromium": ("chromium-headless-shell", "usr/lib/chromium/chromium-headless-shell"),
    "mosquitto": ("mosquitto", "usr/sbin/mosquitto"),
    "postgres": ("postgresql", "usr/lib/postgresql/*/bin/postgres"),
}
# What only chromium's start script, Mesa's drivers, PostgreSQL's JIT and its way of starting with
# the machine want: with LLVM, a third of the whole.
_UNUSED = ("x11-utils", "xdg-utils", "libllvm14", "libllvm19", "postgresql-common")
_NEVER = ("libc6_",)  # must be the one of the machine's own loader


class DebianMissing(Exception):
    """A program is neither here nor to be had; the text is one line that says what to do."""


_failed: dict[str, str] = {}  # packages that this process has tried to get


def program(name: str) -> list[str]:
    """Argument list that starts a program of PROGRAMS; fetched when it is not there (seconds).

    Raises DebianMissing."""
    return installed(name) or private(name)


def installed(name: str) -> list[str] | None:
    """As program(), only if the machine has it."""
    found = shutil.which(name) or shutil.which(name, path=":".join(_SBIN))
    if found is None:
        found = next((str(one) for one in Path("/").glob(PROGRAMS[name][1])), None)
    return [found] if found else None


def private(name: str) -> list[str]:
    """As program(), out of build/debian whatever is installed."""
    package, where = PROGRAMS[name]
    root = FOLDER / package
    if not root.exists():
        _fetch(package, where)
    libraries = sorted({str(file.parent) for file in root.rglob("*.so*")})
    variables = [f"LD_LIBRARY_PATH={':'.join(libraries)}", f"FONTCONFIG_SYSROOT={root}"]
    return ["/usr/bin/env", *variables, str(next(root.glob(where)))]


def _fetch(package: str, where: str) -> None:
    """Makes FOLDER/<package>, once however many processes ask for it at the same time."""
    root = FOLDER / package
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / f"{package}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.exists():
            return
        try:
            if package in _failed:
                raise DebianMissing(_failed[package])
            with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".fetch-") as scratch:
                unpacked = Path(scratch) / "root"
                unpack(_download(package, Path(scratch)), unpacked)
                if not any(unpacked.glob(where)):
                    raise DebianMissing(f"it has no {where}")
                unpacked.rename(root)
        except DebianMissing as e:
            _failed[package] = str(e)
            raise DebianMissing(
                f"Debian's package {package} is not installed and cannot be had: {e}"
            ) from None


def _download(package: str, scratch: Path) -> list[Path]:
    if not STATUS.exists():
        raise DebianMissing("this is no Debian")
    status = STATUS.read_text() + "".join(
        f"\nPackage: {name}\nStatus: install ok installed\nVersion: 99:0\nArchitecture: all\n"
        for name in _UNUSED
    )
    apt = Apt(scratch / "apt", status)
    apt.run("update")
    apt.run("install", "--download-only", "--yes", "--no-install-recommends", package)
    return [deb for deb in apt.archives.glob("*.deb") if not deb.name.startswith(_NEVER)]


class Apt:
    """apt-get on an index and a cache of its own in `state`; nothing of the machine's is changed.

    status: what counts as installed, as in /var/lib/dpkg/status. Raises DebianMissing."""

    def __init__(self, state: Path, status: str, options: tuple[str, ...] = ()) -> None:
        for tool in ("apt-get", "dpkg"):
            if not shutil.which(tool):
                raise DebianMissing(f"{tool} is missing")
        self.archives = state / "cache" / "archives"
        self._said: list[str] = []
        for folder in (state / "lists" / "partial", self.archives / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        (state / "status").write_text(status)
        options = (
            f"Dir::State={state}", f"Dir::State::lists={state}/lists",
            f"Dir::State::status={state}/status", f"Dir::Cache={state}/cache",
            "APT::Sandbox::User=", "Debug::NoLocking=true",
            "Acquire::Retries=1", "Acquire::http::Timeout=20", *options,
        )  # fmt: skip
        self._command = ["apt-get", *(word for option in options for word in ("-o", option))]

    def run(self, *words: str, folder: Path | None = None) -> str:
        """What it prints."""
        done = subprocess.run([*self._command, *words], cwd=folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)  # fmt: skip
        self._said += done.stderr.strip().splitlines()
        if done.returncode:  # an update without a network is none, to apt
            unreached = [line for line in self._said if "Failed to fetch" in line]
            raise DebianMissing((unreached[:1] or self._said[-1:] or ["apt-get gave no reason"])[0])
        return done.stdout


def unpack(debs: list[Path], root: Path) -> None:
    """Raises DebianMissing."""
    root.mkdir(parents=True, exist_ok=True)

    def one(deb: Path) -> None:
        done = subprocess.run(["dpkg", "-x", deb, root], capture_output=True, text=True,
                              check=False)  # fmt: skip
        if done.returncode:
            raise DebianMissing(f"dpkg -x {deb.name}: {done.stderr.strip()[-200:]}")

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, debs))
