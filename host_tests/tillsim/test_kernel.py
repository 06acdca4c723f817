"""The lock-step clock: an hour of pty and TCP traffic, and what must never look like a time-out."""

import socket
import threading
import time

import pytest

from host_tests.tillsim.images import image_with
from tillsim.board import VirtualBoard
from tillsim.kernel import Kernel
from tillsim.mqtt_tap import MqttTap
from tillsim.relay import TcpRelay
from tillsim.wires import SerialWire

HOUR = b"""
import asyncio, socket, machine, time, _thread
lost = [0]
done = [0]
worker_sum = [0]
async def serial(number, period_ms):
    uart = machine.UART(number, 9600)
    stream = asyncio.StreamReader(uart)
    end = time.ticks_add(time.ticks_ms(), 3600000)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        started = time.ticks_ms()
        uart.write(b"ping%04d" % (done[0] % 10000))
        try:
            got = await asyncio.wait_for_ms(stream.readexactly(8), 60)
            if got != b"ping%04d" % (done[0] % 10000): lost[0] += 1000000
        except asyncio.TimeoutError:
            lost[0] += 1
        done[0] += 1
        await asyncio.sleep_ms(period_ms - time.ticks_diff(time.ticks_ms(), started))
async def tcp(port):
    s = socket.socket()
    s.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
    s.setblocking(False)
    stream = asyncio.StreamReader(s)
    for i in range(360):
        s.write(b"\\xc0\\x00")
        try:
            got = await asyncio.wait_for_ms(stream.readexactly(2), 50)
        except asyncio.TimeoutError:
            lost[0] += 1
        await asyncio.sleep_ms(10000)
def job():
    worker_sum[0] += 1
async def threads():
    for i in range(100):
        _thread.start_new_thread(job, ())
        await asyncio.sleep_ms(36000)
async def main(port):
    await asyncio.gather(serial(1, 1000), tcp(port), threads())
asyncio.run(main(PORT))
print("lost", lost[0], "pings", done[0], "jobs", worker_sum[0], "at", time.ticks_ms())
"""


class Echo:
    """A serial device that answers with what it heard, whole frames of 8 bytes."""

    def __init__(self):
        self._rest = b""

    def feed(self, data):
        self._rest += data
        if len(self._rest) < 8:
            return b""
        whole, self._rest = self._rest[:8], self._rest[8:]
        return whole


def pingresp_server():
    """A real TCP server that owes an answer: PINGRESP, after 5 ms of real time."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        try:
            link, _ = listener.accept()
            while link.recv(2):
                time.sleep(0.005)  # its own slowness, which must cost no simulated time
                link.sendall(b"\xd0\x00")
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    return listener


def play(tmp_path, program, bits=64, real_time=False, limit_s=60, wires=()):
    kernel = Kernel(real_time=real_time)
    said = bytearray()
    image = image_with(tmp_path / "flash.img", {"main.py": program})
    board = VirtualBoard(kernel, image, bits=bits, log=said.extend)
    for device in wires:
        wire = SerialWire(kernel, device, baud=9600, latency_ms=5)
        board.wires.append(wire)
        kernel.uarts.append(wire)
    board.power_on()
    started = time.monotonic()
    try:
        kernel.run(done=lambda: b">>>" in said or time.monotonic() - started > limit_s)
    finally:
        board.close()
    return said.decode(), kernel


@pytest.mark.parametrize("bits", [32, 64])
def test_an_hour_without_a_spurious_timeout(tmp_path, bits):
    server = pingresp_server()
    kernel = Kernel()
    tap = MqttTap()
    relay = TcpRelay(kernel, server.getsockname()[1], tap)
    kernel.owed, kernel.forgive = tap.owed, tap.forgive
    said = bytearray()
    program = HOUR.replace(b"PORT", str(relay.port).encode())
    board = VirtualBoard(kernel, image_with(tmp_path / "flash.img", {"main.py": program}),
                         bits=bits, log=said.extend)  # fmt: skip
    wire = SerialWire(kernel, Echo(), baud=9600, latency_ms=5)
    board.wires.append(wire)
    kernel.uarts.append(wire)
    board.power_on()
    try:
        kernel.run(done=lambda: b">>>" in said)
    finally:
        board.close()
        relay.close()
        server.close()
    assert "lost 0 pings 3600 jobs 100 at 36" in said.decode()


def test_a_device_that_stays_silent_times_out_in_simulated_time(tmp_path):
    class Silent:
        def feed(self, data):
            return b""

    program = b"""
import asyncio, machine, time
async def main():
    uart = machine.UART(1, 9600)
    for i in range(1000):
        uart.write(b"x")
        try:
            await asyncio.wait_for_ms(asyncio.StreamReader(uart).read(1), 250)
        except asyncio.TimeoutError:
            pass
asyncio.run(main())
print("at", time.ticks_ms())
"""
    said, kernel = play(tmp_path, program, wires=[Silent()])
    assert "at 250000" in said
    assert kernel.now_ms == 250000


def test_ticks_wrap_as_on_an_esp32(tmp_path):
    program = b"""
import time
a = time.ticks_add(0, -50)
print("diff", time.ticks_diff(time.ticks_add(a, 100), a), a < 1 << 30, time.ticks_diff(0, a))
"""
    said, _ = play(tmp_path, program)
    assert "diff 100 True 50" in said


def test_real_time_mode_keeps_to_the_real_clock(tmp_path):
    program = b"import time\ntime.sleep_ms(400)\nprint('at', time.ticks_ms())\n"
    started = time.monotonic()
    said, _ = play(tmp_path, program, real_time=True)
    assert "at 400" in said
    assert 0.4 <= time.monotonic() - started < 5


def test_an_hour_of_sleep_takes_no_time(tmp_path):
    program = b"import time\nfor i in range(60): time.sleep(60)\nprint('at', time.ticks_ms())\n"
    started = time.monotonic()
    said, _ = play(tmp_path, program)
    assert "at 3600000" in said
    assert time.monotonic() - started < 30
