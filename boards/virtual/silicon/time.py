"""`time` on the simulated clock: what the ESP32's has, ticks that wrap at 2^30 included."""

import link
import sim_thread
from utime import gmtime, localtime, mktime  # noqa: F401
from utime import sleep_ms as _real_sleep_ms

_MASK = 0x3FFFFFFF
_HALF = 0x20000000


def ticks_ms():
    return link.now_ms() & _MASK


def ticks_us():
    return (link.now_ms() * 1000) & _MASK


ticks_cpu = ticks_us


def ticks_add(ticks, delta):
    return (ticks + delta) & _MASK


def ticks_diff(end, start):
    return ((end - start + _HALF) & _MASK) - _HALF


def sleep_ms(ms):
    if sim_thread.in_worker():
        _real_sleep_ms(ms)
        return
    due = ticks_add(ticks_ms(), ms)
    while True:
        left = ticks_diff(due, ticks_ms())
        if left <= 0:
            return
        link.advance(left, True)


def sleep(seconds):
    sleep_ms(int(seconds * 1000))


def sleep_us(us):
    if us >= 1000:
        sleep_ms(us // 1000)


def time():
    return link.wall_clock()[0]


def time_ns():
    seconds, ms = link.wall_clock()
    return (seconds * 1000 + ms) * 1000000
