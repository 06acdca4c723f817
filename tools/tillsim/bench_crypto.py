"""What P-256 costs on the 32-bit interpreter: executed instructions, beside two peers from PyPI.

Instructions are counted by valgrind's cachegrind: the same run after run, on any PC. The peers are
copies of what pip installed, changed only where MicroPython cannot import or compute (PATCHES).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tillctl import firmware
from tillsim import runtime

BENCH = firmware.BUILD / "bench"
VALGRIND = runtime.RUNTIME / "valgrind"
VALGRIND_DEB = (
    "pool/main/v/valgrind/valgrind_3.24.0-3_amd64.deb",
    "0359e30820ccee7ee5c8d4c951ca276e3978b18f157d71bd77981de05b344907",
)
PEER_HEAP = "320k"  # about the least that holds starkbank-ecdsa and its table

PATCHES: dict[str, list[tuple[str, str]]] = {
    # MicroPython's int has no bit_length; its pow(x, -1, n) says 0 where CPython says the inverse.
    "ellipticcurve/curve.py": [("N.bit_length()", "N and 256")],
    "ellipticcurve/math.py": [("return pow(x, -1, n)", "raise ValueError")],
    # `bytes.zfill` and `str.zfill` are absent; the secret of this benchmark has no leading zeros.
    "ellipticcurve/utils/integer.py": [(".zfill(orderByteLen * 2)", "")],
    "ellipticcurve/__init__.py": [("from", "#from")],  # all of it at once, files and keys too
    "ellipticcurve/ecdsa.py": [],
    "ellipticcurve/point.py": [],
    "ellipticcurve/signature.py": [("from .utils.der", "#from")],  # wants datetime
    "ellipticcurve/utils/__init__.py": [],
    "ellipticcurve/utils/binary.py": [],
    "ellipticcurve/utils/compatibility.py": [("pyVersion.major", "pyVersion[0]")],
    "ecpy/__init__.py": [],
    "ecpy/curves.py": [("from builtins import int,pow", "")],
    "ecpy/curve_defs.py": [],
    "ecpy/formatters.py": [("from builtins import int,pow", "")],
    "ecpy/keys.py": [("from builtins import int,pow", "")],
    "ecpy/ecrand.py": [("from builtins import int", ""), ("q.bit_length()", "256")],
    "ecpy/ecdsa.py": [("from builtins import int,pow", "")],
}
SHIMS = {
    "hmac.py": """
from evtill.core.crypto.hashes import hmac_sha256
class new:
    def __init__(self, key, message, hasher): self._mac = hmac_sha256(key, message)
    def digest(self): return self._mac
""",
    "secrets.py": """
from hashlib import sha256
drawn = 0
def randbelow(n):  # the same each run, or runs could not be subtracted from each other
    global drawn
    drawn += 1
    return int.from_bytes(sha256(bytes((drawn,))).digest(), "big") % n
""",
    "base64.py": "b64encode = b64decode = None\n",
}

PRELUDE = """
import sys
from hashlib import sha256 as sha
KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
X = 0x60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6
Y = 0x7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299
SECRET = b"fresh entropy, the same each run"
MESSAGE = "sample"
DIGEST = sha(MESSAGE.encode()).digest()
"""
OWN = """
from evtill.core.crypto.p256 import P256, FileTable
p256 = P256(FileTable(open(sys.argv[1] + "/evtill/core/crypto/p256.tab", "rb")))
r, s = p256.sign(KEY, DIGEST, SECRET)
def sign(i): return p256.sign(KEY, DIGEST, SECRET + bytes((i,)))
def verify(i): return p256.verify((X, Y), DIGEST, r, s)
def public_key(i): return p256.public_key(KEY + i)
"""
FIRST = """
from evtill.core.crypto.curve import P
turns = [0]
def verify(i):  # under two keys in turn, of which only one has signed
    turns[0] += 1
    return p256.verify((X, Y if turns[0] & 1 else P - Y), DIGEST, r, s) or turns[0] > 1
"""
STARKBANK = """
from ellipticcurve.ecdsa import Ecdsa
from ellipticcurve.curve import prime256v1
from ellipticcurve.point import Point
class key: curve = prime256v1; secret = KEY; point = Point(X, Y)
class hasher:
    digest_size = 32
    def __init__(self, data=b""): self._h = sha(data)
    def digest(self): return self._h.digest()
signature = Ecdsa.sign(MESSAGE, key, hasher)  # builds the table
def sign(i): return Ecdsa.sign(MESSAGE, key, hasher)
def verify(i): return Ecdsa.verify(MESSAGE, signature, key, hasher)
"""
ECPY = """
from ecpy.curves import Curve, Point
from ecpy.keys import ECPrivateKey, ECPublicKey
from ecpy.ecdsa import ECDSA
class hasher:
    digest_size = 32
curve = Curve.get_curve("secp256r1")
private, public = ECPrivateKey(KEY, curve), ECPublicKey(Point(X, Y, curve))
ecdsa = ECDSA("ITUPLE")
signature = ecdsa.sign_k(DIGEST, private, SECRET and 3)
def sign(i): return ecdsa.sign_rfc6979(DIGEST, private, hasher)
def verify(i): return ecdsa.verify(DIGEST, signature, public)
"""
# The same product as curve.py's `x * y % P`, in native code: 16-bit limbs, for want of a 32 x 32 ->
# 64 multiplication; x, y and the product in m; then Solinas's reduction (FIPS 186-4, D.2.3), whose
# 32-bit words are sums of these words of the product.
SOLINAS = (
    "+0+8+9-11-12-13-14", "+1+9+10-12-13-14-15", "+2+10+11-13-14-15",
    "+3+11+11+12+12+13-15-8-9", "+4+12+12+13+13+14-9-10", "+5+13+13+14+14+15-10-11",
    "+6+14+14+14+15+15+13-8-9", "+7+15+15+15+8-10-11-12-13",
)  # fmt: skip
VIPER = (
    """
from evtill.core.crypto.curve import P
@micropython.viper
def product(m: ptr16):
    i = 0
    while i < 16:
        m[32 + i] = 0
        i += 1
    i = 0
    while i < 16:
        x = uint(m[i])
        carry = uint(0)
        j = 16
        k = 32 + i
        while j < 32:
            carry += x * m[j] + m[k]
            m[k] = carry
            carry >>= 16
            j += 1
            k += 1
        m[k] = carry
        i += 1
@micropython.viper
def reduced(m: ptr16, out: ptr16):
    carry = 0
"""
    + "".join(
        f"""
    i = 0
    while i < 2:
        carry += {re.sub("([-+])([0-9]+)", lambda w: f"{w[1]} int(m[i + {2 * int(w[2])}])", terms)}
        out[i + {2 * word}] = carry
        carry >>= 16
        i += 1
"""
        for word, terms in enumerate(SOLINAS)
    )
    + """
    while carry:
        top = carry
        i = 0
        while i < 16:
            carry += int(out[i])
            if i == 6 or i == 12:
                carry -= top
            elif i == 14:
                carry += top
            out[i] = carry
            carry >>= 16
            i += 1
m = bytearray(128)
m[:64] = X.to_bytes(32, "little") + Y.to_bytes(32, "little")
rest = memoryview(m)[64:]
out = bytearray(32)
def bytecode(i): return X * Y % P
def mixed(i):
    reduced((X * Y).to_bytes(64, "little"), out)
    return int.from_bytes(out, "little")
def native(i):
    product(m)
    reduced(rest, out)
    return True
assert mixed(0) % P == bytecode(0)
native(0)
assert int.from_bytes(out, "little") % P == bytecode(0)
"""
)
LOOP = """
import gc
print("code", bool({job}(0)))
gc.collect()
for i in range({rounds}): {job}(i)
"""


def table() -> list[tuple[str, str]]:
    """(what, how much) in the order to print; one row says so when something cannot be had."""
    try:
        tools = _prepare()
    except runtime.RuntimeMissing as e:
        return [("instruction counts", f"left out: {e}")]
    rows = []
    counts = {}
    for name, code, heap, rounds in (
        ("evtill", OWN, PEER_HEAP, 12),
        ("starkbank-ecdsa", STARKBANK, PEER_HEAP, 12),
        ("ECPy", ECPY, PEER_HEAP, 1),
        ("evtill in 32 kB", OWN, "32k", 6),
    ):
        for job in ("sign", "verify"):
            counts[name, job] = count = _count(tools, code, job, heap, rounds)
            rows.append((f"P-256 {job}, {name}", f"{count / 1e6:.1f} M instructions"))
    for name in ("starkbank-ecdsa", "ECPy"):
        ratio = counts[name, "sign"] / counts["evtill", "sign"]
        rows.append((f"signs faster than {name}", f"{ratio:.2f} times"))
    ratio = counts["evtill", "verify"] / counts["evtill", "sign"]
    rows.append(("a verification in signatures", f"{ratio:.2f}"))
    first = _count(tools, OWN + FIRST, "verify", PEER_HEAP, 3)
    rows.append(("first verification under a key", f"{first / 1e6:.1f} M instructions"))
    for job, how in (
        ("bytecode", "in bytecode"),
        ("mixed", "% P in viper"),
        ("native", "all in viper"),
    ):
        count = _count(tools, VIPER, job, PEER_HEAP, 100)
        rows.append((f"x * y % P, {how}", f"{count / 1e3:.1f} k instructions"))
    return [*rows, _spread(tools), *sizes()]


def _spread(tools: list[str]) -> tuple[str, str]:
    """How far signatures with random nonces lie apart: what a listener to the time could learn."""
    one = OWN + "def sign(i): return p256.sign(KEY, DIGEST, SECRET + bytes(({0} + i,)))\n"
    counts = [_count(tools, one.format(10 * n), "sign", "1M", 1) for n in range(8)]
    low, high = min(counts) / 1e6, max(counts) / 1e6
    return "spread over 8 nonces", f"{low:.2f} to {high:.2f} M instructions"


def sizes() -> list[tuple[str, str]]:
    """Bytes on flash of each module, and the heap that those of crypto hold once imported."""
    tree = firmware.build(BENCH / "mpy", firmware.ROOT / "firmware") / "evtill/core"
    files = [*sorted((tree / "crypto").glob("[!_]*")), tree / "jws.mpy"]
    rows = [(str(f.relative_to(tree.parent)), f"{f.stat().st_size} B on flash") for f in files]
    code = (
        "import gc; import evtill.core.errors, hashlib, sys; gc.collect(); a = gc.mem_alloc()\n"
        + OWN
        + "del sign, verify, public_key, r, s; gc.collect(); print(gc.mem_alloc() - a)"
    )
    said = _run([], PRELUDE + code, "32k").stdout
    return [*rows, ("live heap of crypto, table in a file", f"{int(said)} B")]


def _count(tools: list[str], code: str, job: str, heap: str, rounds: int) -> float:
    """Instructions of one `job`: the difference of runs with more and with fewer of them."""
    totals = []
    for n in (0, rounds):
        done = _run(tools, PRELUDE + code + LOOP.format(job=job, rounds=n), heap)
        refs = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
        if refs is None or done.returncode or "code True" not in done.stdout:
            raise RuntimeError(f"{job} did not run: {done.stdout}{done.stderr}")
        totals.append(int(refs[1].replace(",", "")))
    return (totals[1] - totals[0]) / rounds


def _run(tools: list[str], code: str, heap: str) -> subprocess.CompletedProcess[str]:
    tree = firmware.build(BENCH / "mpy", firmware.ROOT / "firmware")
    script = BENCH / f"job-{os.getpid()}.py"
    script.write_text(code)
    command = [*tools, *runtime.micropython(32), "-X", f"heapsize={heap}", str(script), str(tree)]
    environment = os.environ | {
        "MICROPYPATH": f"{tree}:{BENCH / 'peers'}:.frozen",
        "VALGRIND_LIB": str(VALGRIND / "usr/libexec/valgrind"),
    }
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
    finally:
        script.unlink()


def _prepare() -> list[str]:
    """Lays out the patched peers; returns the argument list that counts instructions."""
    for name, patches in PATCHES.items():
        _write_peer(name, patches)
    for name, text in SHIMS.items():
        (BENCH / "peers" / name).write_text(text)
    _fetch_valgrind()
    loader = runtime.private_program("amd64", "usr/lib64/ld-linux-x86-64.so.2")
    if loader is None:
        raise runtime.RuntimeMissing("valgrind needs the fetched amd64 runtime: run `make setup`")
    return [
        *loader[:-1], str(VALGRIND / "usr/bin/valgrind.bin"),
        "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--vgdb=no",
    ]  # fmt: skip


def _write_peer(name: str, patches: list[tuple[str, str]]) -> None:
    package, _, rest = name.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise runtime.RuntimeMissing(f"{package} is not installed: pip install -e '.[test]'")
    text = (Path(spec.submodule_search_locations[0]) / rest).read_text()
    for old, new in patches:
        text = text.replace(old, new)
    target = BENCH / "peers" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def _fetch_valgrind() -> None:
    if (VALGRIND / "usr/bin/valgrind.bin").exists():
        return
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise runtime.RuntimeMissing("valgrind 3.24 comes from Debian's packages: no apt-get here")
    with tempfile.TemporaryDirectory() as scratch:
        deb = runtime._download_pinned(
            "valgrind", "amd64", [VALGRIND_DEB], Path(scratch)
        ) or runtime._download_indexed("valgrind", "amd64", Path(scratch))
        subprocess.run(["dpkg", "-x", str(deb), str(VALGRIND)], check=True)


def main() -> int:
    for what, much in table():
        print(f"{what:<40} {much}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
