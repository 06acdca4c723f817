"""Vectors of the drivers' codecs, with their sources; `check()` runs on both interpreters."""

from evtill.core.errors import MeterError
from evtill.drivers import meters, modbus, pn532, pn532_cards

# (address, function, start, count, request). Modbus V1.1b3 6.3 and 6.4 (the PDUs of the examples;
# CRCs by pymodbus), and an SDM630's first phase voltage from
# https://wiki.marcluerssen.de/index.php/Projects:Modbus_Meter
REQUESTS = (
    (17, 3, 0x006B, 3, "1103006b00037687"),
    (1, 4, 0x0008, 1, "0104000800 01b008"),
    (1, 4, 0x0000, 2, "01040000000271cb"),
)
# (address, function, count, whole reply, its registers), from the same examples.
REPLIES = (
    (17, 3, 3, "110306022b00000064c8ba", "022b00000064"),
    (1, 4, 1, "010402000a3937", "000a"),
    (1, 4, 2, "010404436633341b38", "43663334"),
)
# (single-precision bits, scale, integer). Bits from IEEE 754 by hand: 230.2 V in mV, 1045.12 kWh
# in Wh, halves, the largest integer a single holds exactly, zeros, a denormal.
SINGLES = (
    (0x43663334, 1000, 230200),
    (0x4482A3D7, 1000, 1045120),
    (0x3F000000, 1, 1),
    (0xBF000000, 1, -1),
    (0x3EFFFFFF, 1, 0),
    (0x3FC00000, 1, 2),
    (0x3F800000, 1000, 1000),
    (0x4B7FFFFF, 1, 16777215),
    (0x4B7FFFFF, 1000, 16777215000),
    (0x4C000000, 1, 33554432),
    (0x00000000, 1000, 0),
    (0x80000000, 1000, 0),
    (0x00000001, 1000, 0),
    (0x358637BD, 1000, 0),
    (0xC62BE000, 1, -11000),
)
NOT_NUMBERS = (0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x7F7FFFFF)
# (kind as in decode(), registers, times, through, exponent, value): by hand.
DECODED = (
    (0, "ffff", 1, 1, 0, None), (0, "fffe", 1, 1, 0, 65534),
    (1, "ffff", 1, 1, 0, -1), (1, "7fff", 1, 1, 0, None),
    (1, "8000", 1, 10, 0, -3277),
    (2, "00010000", 1, 1, 0, 65536), (2, "ffffffff", 1, 1, 0, None),
    (18, "00000001", 10, 1, 0, 655360),
    (3, "ffffff38", 1, 10, 0, -20), (3, "7fffffff", 1, 1, 0, None),
    (19, "ff38ffff", 1, 1, 0, -200), (3, "00000005", 1, 10, 0, 1),
    (3, "fffffffb", 1, 10, 0, -1), (3, "00000004", 1, 10, 0, 0),
    (4, "0000000000019880", 10, 1, 0, 1045760),
    (20, "9880000100000000", 10, 1, 0, 1045760),
    (4, "ffffffffffffffff", 1, 1, 0, None),
    (5, "7fffffffffffffff", 1, 1, 0, None),
    (5, "ffffffffffffffff", 1, 1, 0, -1),
    (22, "a3d74482", 1000, 1, 0, 1045120),
    (7, "412fe50000000000", 1, 1, 0, 1045120),
    (7, "3fe0000000000000", 1, 1, 0, 1), (7, "bff8000000000000", 1, 1, 0, -2),
    (7, "7ff8000000000000", 1, 1, 0, None), (7, "0000000000000000", 1, 1, 0, 0),
    (8, "ff0008f7", 1000, 1, 0, 229500), (8, "ffffffff", 1, 1, 0, None),
    (8, "02000001", 1, 1, 0, 100), (8, "00ffffff", 1, 1, 0, 0xFFFFFF),
    (9, "ffff59fc", 1, 1, 0, -4250), (9, "fdffffff", 1000, 1, 0, -1),
    (9, "60000001", 1, 1, 0, None),
    (3, "00000013", 1, 1, -1, 2), (3, "00000013", 1, 1, 1, 190),
)  # fmt: skip
# (command, args, frame): logs of libnfc (nfc-tools/libnfc#167) and of techniq/node-pn532#12.
COMMANDS = (
    (0x32, "0100", "0000ff04fcd4320100f900"),
    (0x14, "010001", "0000ff05fbd41401000116 00"),
    (0x44, "00", "0000ff03fdd44400e800"),
    (0x02, "", "0000ff02fed4022a00"),
)
# (stream, kinds found one after the other, data of the last one). UM0701-02 6.2.1 and the logs.
STREAMS = (
    ("0000ff00ff00", (1,), ""),
    ("0000ff02fed533f800", (2,), "33"),
    ("0000ff00ff000000ff02fed5151600", (1, 2), "15"),
    ("0000ff01ff7f8100", (3,), ""),
    ("0000ff06fad50332010607e800", (2,), "0332010607"),
    # noise before, a wrong length checksum, a wrong data checksum, a command's own echo
    ("a5ff0000000000ff02fed533f800", (2,), "33"),
    ("0000ff02ffd533f8000000ff02fed533f800", (2,), "33"),
    ("0000ff02fed533f9000000ff02fed533f800", (2,), "33"),
    ("0000ff02fed4022a000000ff02fed533f800", (2,), "33"),
    # NACK, and an extended frame's head: not for a host that asks for short answers
    ("0000ffff00000000ff00ff00", (1,), ""),
    ("0000ffffff0002fed533f8000000ff00ff00", (1,), ""),
    # cut short
    ("0000ff02fed533", (0,), ""),
    ("0000ff", (0,), ""),
)
# (answer to InListPassiveTarget after its code, UID, SAK): the layout of UM0701-02 7.3.5.
TARGETS = (
    ("00", None, 0),
    ("010100040804deadbeef", "deadbeef", 0x08),
    ("010100440007" "04a2243b6c5e80", "04a2243b6c5e80", 0),
    ("01010044200704a2243b6c5e80" "067577810280", "04a2243b6c5e80", 0x20),
    ("01010084000a" "00112233445566778899", "00112233445566778899", 0),
)
# The same of InAutoPoll (7.3.13): type, length, then as above; type B and FeliCa as in 7.3.5.
POLLS = (
    ("00", None, 0),
    ("01100901" "00040804deadbeef", "deadbeef", 0x08),
    ("0120120100442007" "04a2243b6c5e80" "067577810280", "04a2243b6c5e80", 0x20),
    ("01230f01" "50a1b2c3d4" "00000000007181" "0100", "a1b2c3d4", 0),
    ("01111301" "1201" "0102030405060708" "00f1000000014300", "0102030405060708", 0),
)
BAD_POLLS = (
    "",
    "01",
    "0110",
    "011009",  # cut short
    "01110301" "1201",  # FeliCa cut short
    "01230f01" "51a1b2c3d4" "00000000007181" "0100",  # no ATQB
    "01040901" "00040804deadbeef",  # Jewel, which was not asked for
    "03100901" "00040804deadbeef",  # three
)
BAD_TARGETS = (
    "",
    "01",
    "02010004080411223344",  # two, where one was asked for
    "01020004080411223344",  # target number 2
    "010100040805112233 4455",  # a UID of 5 bytes
    "010100040804112233",  # cut short
    "01010004080411223344 05",  # more after it than an ATS
)


def _hex(text):
    # MicroPython's bytes.fromhex takes no spaces.
    return bytes.fromhex(text.replace(" ", ""))


def check():
    """Checks every vector; returns how many. Raises AssertionError with the one that fails."""
    done = 0
    for part in (_modbus, _singles, _pn532, _targets):
        done += part()
    return done


def _same(got, wanted, what):
    if got != wanted:
        raise AssertionError("%s: got %s, not %s" % (what, got, wanted))
    return 1


def _modbus():
    done = 0
    for address, function, start, count, request in REQUESTS:
        buf = bytearray(8)
        modbus.put_request(buf, address, function, start, count)
        done += _same(bytes(buf), _hex(request), request)
    for address, function, count, reply, registers in REPLIES:
        buf = _hex(reply)
        modbus.check_reply(buf, len(buf), address, function, count)
        done += _same(buf[3:-2], _hex(registers), reply)
    return done


def _singles():
    done = 0
    for bits, scale, value in SINGLES:
        got = meters.float32_scaled(bits >> 16, bits & 0xFFFF, scale)
        done += _same(got, value, hex(bits))
    for bits in NOT_NUMBERS:
        try:
            got = meters.float32_scaled(bits >> 16, bits & 0xFFFF, 1000)
        except MeterError:
            got = None
        done += _same(got, None, hex(bits))
    for kind, registers, times, through, exponent, value in DECODED:
        buf = b"\x11\x22\x33" + _hex(registers) + b"\x44\x55"
        try:
            got = meters.decode(buf, 3, kind, times, through, exponent)
        except MeterError:
            got = None
        done += _same(got, value, "kind %d of %s" % (kind, registers))
    return done


def _pn532():
    done = 0
    for command, args, frame in COMMANDS:
        buf = bytearray(32)
        n = pn532.put_command(buf, command, _hex(args))
        done += _same(bytes(buf[:n]), _hex(frame), frame)
    for stream, kinds, data in STREAMS:
        buf = _hex(stream)
        scanner = pn532.FrameScanner()
        for kind in kinds:
            done += _same(scanner.scan(buf, len(buf)), kind, stream)
            found = buf[scanner.start : scanner.end] if kind == pn532.DATA else b""
            buf = buf[scanner.used :]
        done += _same(found, _hex(data), stream)
    return done


def _targets():
    done = 0
    for parse, good, bad in (
        (pn532.parse_target, TARGETS, BAD_TARGETS), (pn532_cards.parse_poll, POLLS, BAD_POLLS),
    ):  # fmt: skip
        for data, uid, sak in good:
            done += _same(parse(_hex(data)), uid and (_hex(uid), sak), data)
        for data in bad:
            try:
                got = parse(_hex(data))
            except pn532.ReaderError:
                got = "refused"
            done += _same(got, "refused", data)
    return done
