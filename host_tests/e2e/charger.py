"""Plays scenarios on the virtual charger, for tests: the firmware, the interpreter, the filesystem,
the broker and the backend are real."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyocmf import OCMF

from tillctl.__main__ import main as tillctl
from tillctl.public_key import PublicKey
from tillsim import play, scenario

CARD = "04A2243B6C5E80"
HEAD = f'start = "2026-03-02T07:14:00Z"\ntokens = ["{CARD}"]\n'


def step(at: float, do: str, **args: Any) -> str:
    """A [[step]] of a scenario."""
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in args.items())
    return f'[[step]]\nat = {at}\ndo = "{do}"\n{lines}'


def tap(at: float, uid: str = CARD) -> str:
    return step(at, "tap", uid=uid)


def session(start: float, minutes: float, kw: float = 11.0) -> str:
    """Tap, plug, charge for so long, tap, unplug."""
    end = start + minutes * 60
    return tap(start) + step(start + 3, "plug", kw=kw) + tap(end) + step(end + 15, "unplug")


@dataclass
class Outcome:
    """What `tillsim run` leaves in its folder."""

    folder: Path

    def _rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [row["payload"] for row in self._rows("records.jsonl")]

    @property
    def events(self) -> list[str]:
        return [row["name"] for row in self._rows("events.jsonl")]

    @property
    def display(self) -> list[dict[str, Any]]:
        return self._rows("display.jsonl")

    @property
    def results(self) -> list[tuple[str, str]]:
        """(status, detail) of each command's result."""
        return [(row["status"], row["detail"]) for row in self._rows("results.jsonl")]

    def shown(self) -> str:
        """Everything that the display has shown, a screen a line."""
        return "\n".join(
            " | ".join(line.strip() for line in row["lines"]) for row in self.display
        )

    @property
    def truth(self) -> dict[str, Any]:
        return json.loads((self.folder / "truth.json").read_text())

    @property
    def spki(self) -> str:
        """The charger's public key as strangers' verifiers want it."""
        return PublicKey.read(self.folder / "charger.pub.pem").spki.hex()

    def verify(self) -> int:
        """Exit code of `tillctl verify` over all records, with the tariff."""
        files = []
        for i, row in enumerate(self._rows("records.jsonl")):
            file = self.folder / f"{i}.jws"
            file.write_text(row["jws"])
            files.append(str(file))
        return tillctl(["verify", *files, "--key", str(self.folder / "charger.pub.pem"),
                        "--tariff", str(self.folder / "tariff.bin")])  # fmt: skip


@contextlib.contextmanager
def charger(tmp_path: Path, text: str, **options: Any) -> Iterator[play.Play]:
    """A provisioned charger that is ready to run the scenario `text`."""
    file = tmp_path / "scenario.toml"
    file.write_text(text)
    with play.playing(scenario.load(file), **options) as playing:
        yield playing


def outcome(playing: play.Play, folder: Path) -> Outcome:
    playing.write(folder)
    return Outcome(folder)


def run(tmp_path: Path, text: str, **options: Any) -> Outcome:
    """Plays a scenario to its end."""
    with charger(tmp_path, text, **options) as playing:
        playing.run()
        return outcome(playing, tmp_path / "out")


def check(result: Outcome, sessions: int = 1) -> None:
    """Exactly one correct record for each session that the contactor knows of; to pyocmf, a
    stranger's verifier, each OCMF string is as signed and without an error of calibration law."""
    assert len(result.records) == sessions
    assert len(result.truth["sessions"]) == sessions
    assert [record["seq"] for record in result.records] == list(range(1, sessions + 1))
    for record, true in zip(result.records, result.truth["sessions"], strict=True):
        assert record["meter"]["start_wh"] == true["start_wh"]
        assert record["meter"]["end_wh"] == true["end_wh"]
        assert record["total_energy_wh"] == true["end_wh"] - true["start_wh"]
        as_signed, issues = OCMF.from_string(record["ocmf"], strict=True).verify(result.spki)
        assert as_signed
        assert [issue for issue in issues if issue.severity.value == "error"] == []
    assert result.verify() == 0
