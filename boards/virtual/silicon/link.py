"""The virtual board's line to its simulator, and the one clock that both share.

Time stands still while the board computes. When it would wait, it asks the simulator to advance:
the simulator answers once a wire has something to say, or with the time of the next due event.
Frames both ways are 16 bytes, little-endian: op, arg, length of what follows, three int32.
"""

import uselect
import ustruct

# Board to simulator.
ADVANCE = 0x41  # arg: busy workers | 0x80 when asleep; values: ms to wait (-1: for ever), tx totals
PIN = 0x50  # arg: pin; value: level
DISPLAY = 0x44  # followed by the lines, joined by "\n"
WATCHDOG = 0x57  # value: ms until the next feed is due, 0 for never
WRITES = 0x46  # value: writes to the data partition since power-on
I2C = 0x49  # arg: address; followed by what is written to it
LIGHT = 0x4C  # value: the status light's colour, 0xRRGGBB
TONE = 0x48  # arg: pin; value: Hz of its square wave
CUT = 0x43  # the write at which power is cut is done as far as it goes; value as in WRITES
# Simulator to board; FLASH, ABSENT, CUT and ANALOG come ahead of a TIME.
TIME = 0x54  # arg and length: 24 input pins as bits; values: ms since boot, wall clock in s - 2^31,
# its ms
FLASH = 0x58  # arg: what the data partition does from now on, 0 for what it should
ABSENT = 0x55  # arg: whether nobody answers on I2C from now on
# CUT: arg: how; value: power is cut in so many writes from now
ANALOG = 0x4E  # arg: pin; values: uV of its upper and lower half wave, 1/1000 that is the upper one

_FORMAT = "<BBHiii"

busy = [0]  # jobs that worker threads are at
tx_totals = [0, 0]  # bytes written to each UART since boot
repl_input = bytearray()  # what a technician typed and nobody has read yet
program_running = [False]  # then Ctrl-C interrupts; at the prompt it is a byte like others

on_order = [None]  # called with (op, arg and three values) of what comes ahead
on_pins = [None]  # called with the input pins' levels when some interrupt, and time has passed
writes = [0, 0]  # to the data partition since power-on; of them, told to the simulator

_out = bytearray(16)
_in = bytearray(16)
_control = None
_repl = None
_repl_poll = uselect.poll()


def attach(control, repl):
    """control: the simulator's stream; repl: the console's. Returns with the time known."""
    global _control, _repl
    _control, _repl = control, repl
    _repl_poll.register(repl, uselect.POLLIN)
    advance(0)


def send(op, arg=0, value=0, payload=b""):
    ustruct.pack_into(_FORMAT, _out, 0, op, arg, len(payload), value, tx_totals[0], tx_totals[1])
    _control.write(_out)
    if payload:
        _control.write(payload)


def advance(wait_ms, asleep=False):
    """Lets simulated time pass: until a wire speaks, an event is due or `wait_ms` are over.

    A sleeper (`asleep`) hears no wire. Raises KeyboardInterrupt on the console's Ctrl-C."""
    if _hear_console():
        return  # it came before: the simulator will not tell of it again
    tell_writes()
    send(ADVANCE, busy[0] | (0x80 if asleep else 0), wait_ms)
    while True:
        if _control.readinto(_in) != 16:
            raise SystemExit(0)  # the simulator hung up
        if _in[0] == TIME:
            break
        on_order[0](_in[0], _in[1], *ustruct.unpack_from("<iii", _in, 4))
    if on_pins[0]:
        on_pins[0](inputs())
    _hear_console()


def tell_writes():
    if writes[0] != writes[1]:
        writes[1] = writes[0]
        send(WRITES, 0, writes[0])


def power_cut():
    """Tells the simulator, which ends this process; does not return, and allocates nothing."""
    send(CUT, 0, writes[0])
    while True:
        _control.readinto(_in)


def _hear_console():
    """Takes what a technician has typed. Returns whether there was something."""
    heard = False
    while _repl_poll.poll(0):
        heard = True
        byte = _repl.read(1)  # a longer read would wait until it has them all
        if not byte:
            raise SystemExit(0)
        if byte == b"\x03" and program_running[0]:
            raise KeyboardInterrupt
        if len(repl_input) < 4096:
            repl_input.extend(byte)
    return heard


def now_ms():
    """Milliseconds since power-on, as the simulator counts them."""
    return ustruct.unpack_from("<i", _in, 4)[0]


def wall_clock():
    """(Unix seconds, ms) as the board's battery-backed clock shows them."""
    seconds, ms = ustruct.unpack_from("<ii", _in, 8)
    return seconds + 0x80000000, ms


def inputs():
    return _in[1] | _in[2] << 8 | _in[3] << 16
