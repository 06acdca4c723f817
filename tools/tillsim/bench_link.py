"""Records per second over MQTT: our link beside plain umqtt.simple, in the same run.

Both run on the 32-bit interpreter against the same broker, at QoS 1, with the same payloads, first
over loopback and then through a proxy that takes 25 ms each way."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from tillctl import firmware
from tillsim import runtime
from tillsim.broker import Broker
from tillsim.proxy import Proxy

PAYLOAD_BYTES = 1800  # a usage record as a JWS
ROUND_TRIP_MS = 50
GOAL_LOOPBACK = 20
GOAL_ROUND_TRIP = 6
_PLAIN, _OURS = "umqtt.simple", "evtill"
_TIMEOUT_S = 120

# Arguments: which, port, records. Says {"ms": taken, "window": records in flight at most}.
BOARD = """
import asyncio, json, sys, time
which, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
topic = b"evtill/v1/bench/usage"
payload = b"x" * PAYLOAD_BYTES

def plain():
    from umqtt.simple import MQTTClient
    client = MQTTClient("bench-plain", "127.0.0.1", port, "bench", "bench", 60)
    client.connect()
    start = time.ticks_ms()
    for _ in range(n):
        client.publish(topic, payload, qos=1)
    taken = time.ticks_diff(time.ticks_ms(), start)
    client.disconnect()
    return taken, 1

async def ours():
    from evtill.net.mqtt_link import MqttLink
    from evtill.net.worker import Worker
    link = MqttLink(Worker(), "bench-ours", "127.0.0.1", port, "bench", "bench")
    up, done = asyncio.Event(), asyncio.Event()
    left = [n, n]  # to publish, to be acknowledged

    def fill():
        while left[0] and link.publish_nowait(topic, payload) is not None:
            left[0] -= 1

    def taken(pid):
        left[1] -= 1
        if not left[1]:
            done.set()

    def down(reason):
        raise OSError(reason)

    link.on_up, link.on_room, link.on_puback, link.on_down = lambda _: up.set(), fill, taken, down
    running = asyncio.create_task(link.run())
    await up.wait()
    start = time.ticks_ms()
    fill()
    await done.wait()
    ms = time.ticks_diff(time.ticks_ms(), start)
    link.disconnect()
    await running
    return ms, link.window

ms, window = plain() if which == "umqtt.simple" else asyncio.run(ours())
print(json.dumps({"ms": ms, "window": window}))
""".replace("PAYLOAD_BYTES", str(PAYLOAD_BYTES))


def measure(which: str, port: int, records: int, bits: int = 32) -> tuple[float, int]:
    """(records per second, records in flight at most) of "umqtt.simple" or "evtill".

    Raises CalledProcessError when the interpreter ends with an error."""
    tree = firmware.build(firmware.BUILD / "mpy" / "bench-link", firmware.ROOT / "firmware")
    paths = ":".join(map(str, (tree, runtime.FROZEN, ".frozen")))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "bench.py"
        script.write_text(BOARD)
        argv = [*runtime.micropython(bits), "-X", "heapsize=112k", str(script)]
        done = subprocess.run(
            [*argv, which, str(port), str(records)], env=os.environ | {"MICROPYPATH": paths},
            stdout=subprocess.PIPE, text=True, timeout=_TIMEOUT_S, check=True,
        )  # fmt: skip
    said = json.loads(done.stdout)
    return records * 1000 / max(1, said["ms"]), said["window"]


def compare(port: int, plain_records: int, our_records: int) -> tuple[float, float, int]:
    """(plain, ours, our window): records per second over `port`."""
    plain, _ = measure(_PLAIN, port, plain_records)
    ours, window = measure(_OURS, port, our_records)
    return plain, ours, window


def lines() -> list[str]:
    """The benchmark's report, one line a path."""
    said = []
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(0, {"bench": "bench"}, folder)
        with broker, Proxy(broker.port) as proxy:
            proxy.delay_ms = ROUND_TRIP_MS / 2
            ways = (
                ("loopback", broker.port, 50, 2000, GOAL_LOOPBACK),
                (f"{ROUND_TRIP_MS} ms round trip", proxy.port, 20, 400, GOAL_ROUND_TRIP),
            )
            for name, port, plain_records, our_records, goal in ways:
                plain, ours, window = compare(port, plain_records, our_records)
                said.append(
                    f"link {name} ({broker.engine}, QoS 1, {PAYLOAD_BYTES} B): "
                    f"umqtt.simple {plain:.1f} records/s, evtill {ours:.0f} with {window} in "
                    f"flight: {ours / plain:.0f} times (goal {goal})"
                )
    return said


if __name__ == "__main__":
    print("\n".join(lines()))
