"""A board on a serial port, reached with mpremote: a real ESP32 and the virtual board alike."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evtill.core.errors import EvtillError

TIMEOUT_S = 120


class PortError(EvtillError):
    """The board did not do what it was asked to; the text is its last line."""


class Port:
    """`say`: where progress goes, a line at a time."""

    def __init__(self, path: str, say: Callable[[str], None] = print) -> None:
        self.path = path
        self.say = say

    def mpremote(self, *words: str) -> str:
        """Standard output of one mpremote command chain. Raises PortError."""
        command = [sys.executable, "-m", "mpremote", "connect", self.path, *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  timeout=TIMEOUT_S)  # fmt: skip
        except subprocess.TimeoutExpired:
            raise PortError(f"{self.path}: no answer within {TIMEOUT_S} s") from None
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
            raise PortError(f"{self.path}: {lines[-1]}")
        return done.stdout

    def ask(self, code: str) -> Any:
        """What `code` leaves in `answer` on the board, as JSON. Raises PortError."""
        said = self.mpremote("exec", f"{code}\nimport json\nprint(json.dumps(answer))")
        try:
            return json.loads(said.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise PortError(f"{self.path}: the board said {said.strip()[-80:]!r}") from None

    def put(self, files: dict[str, bytes], scratch: Path) -> None:
        """Writes {path on the board: content}, in one go through `scratch`."""
        words: list[str] = []
        for i, (name, content) in enumerate(files.items()):
            local = scratch / f"{i}.bin"
            local.write_bytes(content)
            words += ["+"] * bool(words) + ["fs", "cp", str(local), f":{name}"]
        self.mpremote(*words)

    def put_tree(self, tree: Path, names: list[str]) -> None:
        """Copies what `names` says of `tree` to the board's root; whatever is there already with
        the same hash is left."""
        words: list[str] = []
        for entry in sorted({name.split("/")[0] for name in names}):
            recursive = ["-r"] if (tree / entry).is_dir() else []
            words += ["+"] * bool(words) + ["fs", "cp", *recursive, str(tree / entry), ":/"]
        self.mpremote(*words)

    def reset(self) -> None:
        """Starts the board anew: boot.py, then main.py."""
        self.mpremote("reset")
