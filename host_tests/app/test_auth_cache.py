"""What the backend allowed is known until its time is over, in bounded room, and never longer."""

import random

import pytest

from evtill.app.auth_cache import SLOTS, forget, keep, look, settle
from evtill.core.tokens import FREE
from host_tests import micropython

NOW = 1800000000


def token(n):
    return n.to_bytes(8, "big")


def test_an_answer_lasts_until_it_expires(tmp_path):
    folder = str(tmp_path)
    assert look(folder, token(1), NOW) is None
    keep(folder, token(1), NOW, NOW + 60, 500, FREE)
    keep(folder, token(2), NOW, NOW + 90)
    assert look(folder, token(1), NOW + 59) == (None, FREE, NOW + 60, 500)
    assert look(folder, token(1), NOW + 60) is None
    assert look(folder, token(2), NOW + 89) == (None, 0, NOW + 90, None)
    assert look(folder, token(1), None) is None  # no clock, no answer
    keep(folder, token(1), NOW, NOW + 70)  # a newer answer
    assert look(folder, token(1), NOW + 65) == (None, 0, NOW + 70, None)
    forget(folder, token(1))
    assert look(folder, token(1), NOW) is None
    assert look(folder, token(2), NOW)


def test_the_backends_last_answer_counts_while_it_is_away(tmp_path):
    def ask(answer, unix_s=NOW, life_s=60):
        return settle(str(tmp_path), token(1), unix_s, life_s, answer)

    yes, no = (True, "welcome", "ref-1", 500, 0), (False, "no credit left", None, None, 0)
    assert ask(None) is None
    assert ask(yes) == yes
    assert ask(None, NOW + 59) == (True, None, None, 500, 0)
    assert ask(None, NOW + 60) is None and ask(None, None) is None
    assert ask(no, NOW + 5) == no  # it has changed its mind
    assert ask(None, NOW + 6) is None
    assert ask(yes, NOW, 0) == yes and ask(None) is None  # nothing is to be remembered
    assert ask(yes) == yes and ask(yes, None) == yes and ask(None) is None  # nobody knows till when


def test_room_is_bounded_and_what_is_over_first_goes_first(tmp_path):
    folder = str(tmp_path)
    chance = random.Random(1)
    until = {}
    for n in range(500):
        now = NOW + n
        live = {t: e for t, e in until.items() if e > now}
        if len(live) == SLOTS:
            del live[min(live, key=lambda t: live[t])]
        until = live
        until[token(n)] = NOW + 500 * chance.randrange(1, 40) + n + 1  # no two alike
        keep(folder, token(n), now, until[token(n)])
        if n % 20 and n < 490:
            continue
        for known, expires in until.items():
            assert look(folder, known, now) == (None, 0, expires, None)
        assert sum(look(folder, token(i), now) is not None for i in range(n + 1)) == len(until)
    assert (tmp_path / "auth.bin").stat().st_size == SLOTS * 24


@pytest.mark.parametrize("how", ["flip", "cut", "random"])
def test_damage_is_forgotten_not_believed(tmp_path, how):
    folder = str(tmp_path)
    chance = random.Random(how)
    path = tmp_path / "auth.bin"
    for _ in range(100):
        for n in range(9):
            keep(folder, token(n), NOW, NOW + n + 1, n)
        data = bytearray(path.read_bytes())
        if how == "flip":
            data[chance.randrange(9 * 24)] ^= 1 << chance.randrange(8)
        elif how == "cut":
            del data[chance.randrange(len(data)) :]
        else:
            data = bytearray(chance.randbytes(chance.randrange(2000)))
        path.write_bytes(data)
        for n in range(9):
            assert look(folder, token(n), NOW) in (None, (None, 0, NOW + n + 1, n))
        keep(folder, token(77), NOW, NOW + 5)
        assert look(folder, token(77), NOW) == (None, 0, NOW + 5, None)


_ON_FLASH = """
import gc
import ramflash
from evtill.app.auth_cache import SLOTS, keep, look
cut = 0
whole = [None, (None, 0, 1800000060, 500), (None, 0, 1800000090, None)]
seen = set()
while True:
    flash = ramflash.Flash(8)
    ramflash.mount(flash, make=True)
    keep("/f", b"12345678", 1800000000, 1800000060, 500)
    for n in range(SLOTS - 1):
        keep("/f", ("other%03d" % n).encode(), 1800000000, 1800000060)
    flash.cut(cut // 3, cut % 3)
    try:
        keep("/f", b"12345678", 1800000000, 1800000090)
    except OSError:
        pass
    done = not flash.dead
    ramflash.mount(flash.after_power_cut())
    seen.add(whole.index(look("/f", b"12345678", 1800000000)))
    flash = None
    gc.collect()
    if done:
        break
    cut += 1
print(cut, sorted(seen))
"""


def test_a_power_cut_leaves_the_old_answer_or_the_new_one():
    cuts, seen = micropython.run(_ON_FLASH, bits=64, heap="2M").split(" ", 1)
    assert int(cuts) >= 6
    assert seen.strip() == "[1, 2]"
