"""Whether records are one unbroken chain of a charger's: nothing left out, put in or told twice."""

import itertools
from typing import Any

from evtill.core import record_check
from evtill.core.errors import EvtillError, RecordError
from tillctl.key_ring import KeyRing, Term
from tillctl.verify import FAIL, Check, Sayer, Verified

_ZEROS = "0" * 64


def verify_chain(records: list[Verified]) -> Check:
    """One check over the records (in any order) of one charger."""
    chargers = follow(records)
    if len(chargers) != 1:
        return Check("chain", FAIL, "the records are of several chargers")
    [found] = chargers.values()
    return next((check for check in found if check.result == FAIL), found[0])


def follow(records: list[Verified], ring: KeyRing | None = None) -> dict[str, list[Check]]:
    """{charger: checks} over records in any order; what cannot be read stands under "".

    The first check is "chain": ok, or what breaks it first. Each break, hole and double follows,
    then the notes: copies, numbers that pagination skipped, changes of key."""
    found: dict[str, list[Check]] = {}
    readable = [one for one in records if one.record]
    for charger in sorted({one.record["charger"] for one in readable if one.record}):
        mine = [one for one in readable if one.record and one.record["charger"] == charger]
        found[charger] = _follow(mine, charger, ring)
    if len(readable) < len(records):
        unread = f"{len(records) - len(readable)} of {len(records)} records cannot be read"
        found.setdefault("", []).append(Check("chain", FAIL, unread))
        if len(found) == 2:  # of one charger, as far as anyone can tell
            [charger] = [name for name in found if name]
            found[charger] = [*found.pop(""), *found[charger]]
    return found


def _follow(records: list[Verified], charger: str, ring: KeyRing | None) -> list[Check]:
    say = Sayer([])
    chain = _without_copies(records, say)
    first, last = chain[0][0], chain[-1][0]
    if first["seq"] > 1:
        say.note("chain", f"begins at seq {first['seq']}: what was before is not here")
    elif first["prev"] != _ZEROS:
        say.fail("chain", "seq 1 does not begin the chain")
    for (before, sha256), (record, _) in itertools.pairwise(chain):
        _link(before, sha256, record, say)
    _check_pagination([record for record, _ in chain], say)
    for term in ring.terms.values() if ring else ():
        if term.charger == charger and term.prev is not None:
            _check_rotation(term, chain, say)
    if not any(check.result == FAIL for check in say.checks):
        text = f"seq {first['seq']} to {last['seq']} without a hole, each names the last"
        return [Check("chain", "ok", text), *say.checks]
    return sorted(say.checks, key=lambda check: check.result != FAIL)


def _without_copies(records: list[Verified], say: Sayer) -> list[tuple[dict[str, Any], str]]:
    """(record, hash) by seq, copies of the same bytes left out and told."""
    chain: dict[str, dict[str, Any]] = {}
    copies: dict[str, int] = {}
    for one in sorted(records, key=lambda one: (one.record or {})["seq"]):
        chain[one.sha256] = one.record or {}
        copies[one.sha256] = copies.get(one.sha256, 0) + 1
    for sha256, times in copies.items():
        if times > 1:
            say.note("chain", f"seq {chain[sha256]['seq']} is here {times} times, the same bytes")
    return [(record, sha256) for sha256, record in chain.items()]


def _link(before: dict[str, Any], sha256: str, record: dict[str, Any], say: Sayer) -> None:
    seq = record["seq"]
    if seq == before["seq"]:
        say.fail("chain", f"seq {seq} stands twice, with other content")
    elif seq == before["seq"] + 2:
        say.fail("chain", f"seq {seq - 1}, between {seq - 2} and {seq}, is missing")
    elif seq != before["seq"] + 1:
        missing = f"{before['seq'] + 1} to {seq - 1}, between {before['seq']} and {seq},"
        say.fail("chain", f"seq {missing} are missing")
    elif record["prev"] != sha256:
        say.fail("chain", f"seq {seq} does not name the record before it (prev)")


def _check_pagination(chain: list[dict[str, Any]], say: Sayer) -> None:
    """OCMF's own count: a number is never used again; one that was skipped is told."""
    last = None
    for record in chain:
        try:
            number = int(record_check.parse_ocmf(record["ocmf"])[1]["PG"][1:])
        except EvtillError:
            continue  # the record's own checks say so
        seq = record["seq"]
        if last is not None and number <= last[1] and seq != last[0]:
            say.fail("pagination", f"T{number} at seq {seq} after T{last[1]} at seq {last[0]}")
        elif last is not None and number > last[1] + (seq - last[0]):
            skipped = number - last[1] - (seq - last[0])
            numbers = "a number was" if skipped == 1 else f"{skipped} numbers were"
            say.note(
                "pagination", f"T{last[1]} at seq {last[0]}, T{number} at seq {seq}: {numbers} "
                "skipped, by a power cut or damage; none was used twice",
            )  # fmt: skip
        last = seq, number


def _check_rotation(term: Term, chain: list[tuple[dict[str, Any], str]], say: Sayer) -> None:
    with say("rotation") as said:
        before = [sha256 for record, sha256 in chain if record["seq"] == term.first - 1]
        wanted = before[0] if before else _ZEROS if term.first == 1 else term.prev
        if term.prev != wanted:
            raise RecordError(f"to {term.key.kid} names another record before seq {term.first}")
        said.text = f"from seq {term.first} on key {term.key.kid}, signed by the key before it"
