"""tillctl card: looks at a card on a reader, and writes an operator's keys to a blank one."""

import argparse
import asyncio
import json
from pathlib import Path

from evtill.core import ev2
from evtill.core.errors import CardError, CardGone
from evtill.core.tokens import anonymous
from tillctl import card_keys
from tillctl.card_aes import aes
from tillctl.card_port import converse, reader_on, wait_for_card
from tillctl.port import Port, PortError

_ISO_14443_4 = 0x20
# With the board's own reader, whichever it is; the charger's program stands still meanwhile.
_ON_BOARD = """
import asyncio, hwconfig
async def look():
    reader = hwconfig.reader()
    await reader.begin()
    uid = await reader.read_uid(%d)
    return None if uid is None else ["".join(["%%02x" %% b for b in uid]), reader.sak]
answer = asyncio.run(look())
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("card", help="look at cards, write keys to blank ones")
    sub = p.add_subparsers(metavar="ACTION", required=True)
    read = sub.add_parser(
        "read",
        help="what a card says of itself",
        description="PORT is a PN532 behind a USB serial adapter, or with --board a charger's own "
        "serial port: then its reader is used and the charger stands still meanwhile. The UID is "
        "printed as the charger reads it, first byte first on the air.",
    )
    write = sub.add_parser(
        "personalise",
        help="write an operator's keys to a blank NTAG 424 DNA or DESFire EV2, EV3",
        description="Without --write nothing is changed: the card is looked at and what would be "
        "written is named. --keys names a file with the operator's keys, which is made (mode 600) "
        "where there is none: card_key goes into the chargers' configuration, issuer_key stays "
        "with who writes cards. Who has the file can make cards.",
    )
    for each in (read, write):
        each.add_argument("port", help="serial port, such as /dev/ttyUSB0")
        each.add_argument("--wait", type=int, default=20, metavar="S", help="for a card; 20")
    read.add_argument("--board", action="store_true", help="PORT is a charger's")
    read.add_argument("--keys", type=Path, metavar="FILE", help="also ask the card to prove itself")
    read.add_argument("--json", action="store_true")
    read.set_defaults(run=_read)
    write.add_argument("--keys", type=Path, required=True, metavar="FILE")
    write.add_argument("--write", action="store_true", help="do it; there is no way back")
    write.add_argument("--hide-uid", action="store_true",
                       help="an NTAG shows a random UID from then on, for ever")  # fmt: skip
    write.set_defaults(run=_personalise)


def _read(args: argparse.Namespace) -> int:
    keys = card_keys.load(args.keys) if args.keys else None
    if args.board:
        if keys:
            raise CardError("--keys goes with a reader on this PC")
        found = _read_on_board(args.port, args.wait)
    else:
        found = asyncio.run(_look(args.port, args.wait, keys))
    if args.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:10} {value}")
    return 0


def _describe(uid: bytes, sak: int) -> dict:
    kind = "ISO 14443-4 card" if sak & _ISO_14443_4 else "plain card"
    if anonymous(uid):
        kind = "phone, or a card that hides its UID"
    elif len(uid) == 8:
        kind = "FeliCa card"
    return {"uid": uid.hex().upper(), "sak": f"{sak:02x}", "kind": kind}


def _read_on_board(path: str, wait_s: int) -> dict:
    answer = Port(path, lambda line: None).ask(_ON_BOARD % (wait_s * 1000))
    if answer is None:
        raise PortError(f"{path}: no card within {wait_s} s")
    return _describe(bytes.fromhex(answer[0]), answer[1])


async def _look(path: str, wait_s: int, keys: card_keys.Keys | None) -> dict:
    async with reader_on(path) as reader:
        uid = await wait_for_card(reader, wait_s * 1000)
        found = _describe(uid, reader.sak)
        if keys and reader.sak & _ISO_14443_4:
            card = reader.dialogue()
            try:
                proved = await converse(
                    card, ev2.prove(aes, keys.master, keys.aid, keys.system, uid, _random)
                )
            except CardError as e:
                found["proof"] = f"failed: {e}"
            else:
                found["proof"] = "no application of ours" if proved is None else "genuine"
                if proved:
                    found["true uid"] = proved.hex().upper()
            await card.release()
        return found


def _random(n: int) -> bytes:
    import secrets

    return secrets.token_bytes(n)


def _personalise(args: argparse.Namespace) -> int:
    return asyncio.run(_write(args, card_keys.load(args.keys)))


async def _write(args: argparse.Namespace, keys: card_keys.Keys) -> int:
    async with reader_on(args.port) as reader:
        uid = await wait_for_card(reader, args.wait * 1000)
        if not reader.sak & _ISO_14443_4:
            raise CardError(f"{uid.hex().upper()} takes no keys: it is no ISO 14443-4 card")
        card = reader.dialogue()
        state = await converse(card, card_keys.state(keys, uid))
        if state == "ours":
            print(f"card: {uid.hex().upper()} has these keys already; nothing to do")
            return 0
        kind = state.removeprefix("partly ")
        print(f"card: {uid.hex().upper()}, {kind}, " + ("blank" if state == kind else "half done"))
        if args.hide_uid and kind == "desfire":
            raise CardError("a DESFire hides its UID by a setting of the whole card: not done here")
        what = f"keys 1, 2 and 0 for {keys.system.decode()}, application {keys.aid.hex()}"
        if args.hide_uid:
            what += ", a random UID from now on"
        if not args.write:
            print(f"card: would write {what}; --write does it")
            return 0
        try:
            true = await converse(card, card_keys.personalise(keys, kind, args.hide_uid))
            proved = await converse(
                card, ev2.prove(aes, keys.master, keys.aid, keys.system, uid, _random)
            )
        except CardGone as e:
            raise CardError(f"{e}: put it back and do it again") from None
        if proved != true:
            raise CardError("written, but the card does not prove itself")
        print(f"card: wrote {what}; {true.hex().upper()} proves itself")
        return 0
