"""Plays a scenario against a full virtual charger and writes down what came of it."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from evtill.core.errors import ConfigError, EvtillError, MeterError
from tillback import tariffs
from tillctl import firmware, flash, provision, trust
from tillctl.port import Port
from tillctl.tariff_compile import compile_tariff
from tillsim.board import VirtualBoard
from tillsim.charger import BROKER_NAME, BROKER_PORT, NTP_PORT, VirtualCharger
from tillsim.kernel import Kernel
from tillsim.scenario import Scenario, ScenarioError, Step

CHARGER = "DE*EVT*E000123"
MQTT_PASSWORD = "virtual-charger"
IMAGES = firmware.BUILD / "images"
AFTER_LAST_STEP_MS = 30_000

T = TypeVar("T")


def while_pumping(kernel: Kernel, work: Callable[[], T]) -> T:
    """The result of `work` done in a thread, while the kernel runs in real time."""
    outcome: list[T] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as e:  # noqa: BLE001  (raised again below, in the caller's thread)
            error.append(e)

    thread = threading.Thread(target=run, daemon=True)
    real_time, kernel.real_time = kernel.real_time, True
    thread.start()
    try:
        kernel.run(done=lambda: not thread.is_alive())
    finally:
        kernel.real_time = real_time
    if error:
        raise error[0]
    return outcome[0]


def flashed_image(target: Path, say: Callable[[str], None] = lambda line: None) -> Path:
    """A copy at `target` of a flash image with this firmware on it, put there by mpremote.

    The image is made once for each state of the firmware, and kept in build/images."""
    tree = flash.tree("virtual")
    digest = hashlib.sha256()
    for file in sorted(p for p in tree.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(tree)}\0".encode() + file.read_bytes())
    kept = IMAGES / f"{digest.hexdigest()[:16]}.img"
    IMAGES.mkdir(parents=True, exist_ok=True)
    with open(IMAGES / ".lock", "w") as lock:  # tests run side by side; one of them makes it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            making = kept.with_suffix(".new")
            making.unlink(missing_ok=True)
            kernel = Kernel(real_time=True)
            board = VirtualBoard(kernel, making)
            board.power_on()
            try:
                while_pumping(kernel, lambda: flash.flash(Port(board.console.path, say)))
            finally:
                board.close()
            making.rename(kept)
    shutil.copyfile(kept, target)
    return target


class Play:
    """One scenario on one charger; use as a context manager. `run()` plays it to its end."""

    def __init__(self, scenario: Scenario, charger: VirtualCharger, table: bytes) -> None:
        self.scenario = scenario
        self.charger = charger
        self.table = table
        self.registration: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}  # more of them for the data partition
        self.besides: list[tuple[int, Callable[[], None]]] = []  # (ms, action) no step can do

    def provision(self, say: Callable[[str], None], flash_first: bool = False) -> None:
        """Gives the board its identity and everything else, as a technician would. A second time,
        the keys stay."""
        charger = self.charger
        settings = {
            "broker_host": "127.0.0.1", "broker_port": BROKER_PORT, "broker_tls": "off",
            "mqtt_password": MQTT_PASSWORD, "ntp_host": "127.0.0.1", "ntp_port": NTP_PORT,
        }  # fmt: skip
        files = dict(self.files)
        if self.scenario.language != "en":
            try:
                files |= provision.language(self.scenario.language)
            except (ConfigError, OSError) as e:
                raise ScenarioError(f"language: {e}") from None
        if charger.identity is not None:
            settings |= {"broker_host": BROKER_NAME, "broker_tls": "on"}
            own = trust.files(CHARGER, charger.authority.certificate, None,
                              charger.identity.certificate, charger.identity.key)  # fmt: skip
            files = own | files
        settings |= self.scenario.config
        kept = None
        if not (flash_first or files or self.registration or isinstance(self.scenario.tokens, str)):
            kept = self._kept_image(settings)
        if kept and kept.exists():
            self.registration = json.loads(kept.with_suffix(".json").read_text())
            shutil.copyfile(kept, charger.board.image)
        else:
            self._provision(say, flash_first, settings, files)
        if kept and not kept.exists():
            making = kept.with_suffix(f".{os.getpid()}")  # tests run side by side
            making.write_text(json.dumps(self.registration))
            making.rename(kept.with_suffix(".json"))
            shutil.copyfile(charger.board.image, making)
            making.rename(kept)
        charger.card_key = bytes.fromhex(str(settings.get("card_key", "00" * 16)))
        charger.store.register(
            CHARGER, self.registration["public_key"],
            bytes.fromhex(self.registration["ack_key"]), CHARGER,
            bytes.fromhex(self.registration["command_key"]),
        )  # fmt: skip
        tariffs.add_tariff(charger.store.database, self.table)

    def _provision(
        self, say: Callable[[str], None], flash_first: bool, settings: dict[str, Any],
        files: dict[str, bytes],
    ) -> None:  # fmt: skip
        charger = self.charger
        charger.board.power_on(mode="raw")
        port = Port(charger.board.console.path, say)

        def technician() -> dict[str, Any]:
            if flash_first:
                flash.flash(port)
            return provision.provision(port, CHARGER, settings, self.table, self.scenario.tokens,
                                       known=self.registration, files=files)  # fmt: skip

        try:
            self.registration = while_pumping(charger.kernel, technician)
        except (ConfigError, MeterError) as e:
            raise ScenarioError(f"config: {e}") from None
        charger.board.kill()

    def _kept_image(self, settings: dict[str, Any]) -> Path:
        """Where a board that was provisioned just so is kept: by what is on it before, by what goes
        onto it, and by the code that puts it there."""
        digest = hashlib.sha256(self.charger.board.image.read_bytes())
        given = [sorted(settings.items()), self.scenario.tokens, self.charger.meter_file]
        digest.update(repr(given).encode() + self.table)
        for file in sorted(Path(provision.__file__).parent.glob("*.py")):
            digest.update(file.read_bytes())
        return IMAGES / f"charger-{digest.hexdigest()[:16]}.img"

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """First boot at time 0, then every step. Raises BoardHung."""
        charger, kernel = self.charger, self.charger.kernel
        charger.start_servers()
        charger.display.clear()
        charger.console.clear()
        charger.board.booted_at_ms.clear()
        kernel.restart_clock()
        for at_ms, action in self.besides:
            kernel.at(at_ms, action)
        charger.board.power_on()
        for step in self.scenario.steps:
            kernel.at(step.at_ms, self._act(step))
        if not any(step.do == "end" for step in self.scenario.steps):
            last = max((step.at_ms for step in self.scenario.steps), default=0)
            kernel.at(last + AFTER_LAST_STEP_MS, kernel.stop)
        kernel.run(until)

    def _act(self, step: Step) -> Callable[[], None]:
        return lambda: self.charger.do(step.do, step.args)

    # -- what came of it ----------------------------------------------------------------------

    def records(self) -> list[dict[str, Any]]:
        """{jws, payload, ocmf} of every record in the ledger, in the order of seq."""
        found = []
        for row in self.charger.store.records(CHARGER):
            payload = json.loads(row.payload)
            found.append({"jws": row.jws.decode(), "payload": payload, "ocmf": payload["ocmf"]})
        return found

    def events(self) -> list[dict[str, Any]]:
        """{at (simulated seconds), name, detail} of every event in the ledger."""
        boots = self.charger.board.booted_at_ms
        found = []
        for row in self.charger.store.events(CHARGER):
            said = json.loads(row.payload)
            boot = said["boot"] - self.first_boot
            at_ms = boots[boot] + said["ms"] if 0 <= boot < len(boots) else said["ms"]
            found.append({"at": at_ms / 1000, "name": said["name"], "detail": said["detail"]})
        return sorted(found, key=lambda event: event["at"])

    first_boot = 1  # provisioning does not run the app, so boots are counted from the scenario's

    def write(self, out: Path) -> None:
        """Leaves the scenario's outcome in the folder `out`."""
        out.mkdir(parents=True, exist_ok=True)
        _jsonl(out / "records.jsonl", self.records())
        _jsonl(out / "events.jsonl", self.events())
        _jsonl(out / "results.jsonl", [
            {"id": row.command, "status": row.status, "detail": row.detail,
             "proven": bool(row.proven)}
            for row in self.charger.store.results()
        ])  # fmt: skip
        _jsonl(out / "display.jsonl", self.charger.display)
        for name, picture in self.charger.pictures.items():
            picture.save(out / f"{name}.png")
        (out / "charger.pub.pem").write_text(self.registration["public_key"])
        (out / "truth.json").write_text(json.dumps(self.charger.truth(), indent=1) + "\n")
        (out / "tariff.bin").write_bytes(self.table)
        (out / "console.log").write_bytes(self.charger.console)


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@contextlib.contextmanager
def playing(
    scenario: Scenario, *, blank: bool = False, say: Callable[[str], None] = lambda line: None,
    prepare: Callable[[Play], None] = lambda play: None, **options: Any,
) -> Iterator[Play]:  # fmt: skip
    """A provisioned Play; nothing of it is left behind afterwards.

    blank: start from an erased flash and put the firmware on it, instead of from a kept image.
    prepare: called with it before it is provisioned.
    options: real_time, bits and heap of VirtualCharger. Raises ScenarioError."""
    try:
        table = compile_tariff(scenario.tariff, scenario.timezone)
    except EvtillError as e:
        raise ScenarioError(f"tariff: {e}") from None
    with tempfile.TemporaryDirectory(prefix="tillsim-") as scratch:
        folder = Path(scratch)
        image = folder / "flash.img"
        if not blank:
            flashed_image(image, say)
        charger = VirtualCharger(CHARGER, folder, image, start_ms=scenario.start_ms,
                                 mqtt_password=MQTT_PASSWORD, tls=scenario.tls,
                                 display=scenario.display,
                                 meter=str(scenario.config.get("meter_model", "sdm630")),
                                 plug=str(scenario.config.get("plug", "contact")),
                                 **options)  # fmt: skip
        try:
            play = Play(scenario, charger, table)
            prepare(play)
            play.provision(say, flash_first=blank)
            yield play
        finally:
            charger.close()
