"""The link against a broker that errs, lies, stalls and goes away."""

import hashlib
import itertools
import os
import random
import socket
import struct
import time

import pytest

from host_tests.fakes import mqtt_broker
from host_tests.fakes.mqtt_broker import CONNACK, PINGRESP, MqttBroker, puback, publish, suback
from host_tests.net.board import board

CMD = b"evtill/v1/c1/cmd"


def test_connect_and_subscribe_are_whole_packets_with_every_field():
    seen = []

    def script(client):
        seen.append(client.expect(0x10))
        client.send(b"\x20\x02\x01\x00")  # session present
        body = client.expect(0x82)
        seen.append(body)
        client.send(suback(int.from_bytes(body[:2], "big"), b"\x01\x00"))
        assert client.packet() == (0xE0, b"")

    with MqttBroker(script) as broker:
        said = board(
            """
            c = Client(subscriptions=("evtill/v1/c1/cmd", b"evtill/v1/c1/usage/ack"), keepalive=300,
                       password="p" * 120)
            c.link.set_last_will("evtill/v1/c1/status", b"gone", True, 1)
            c.start()
            await c.until(lambda: c.ups)
            print(c.ups, c.link.up)
            await c.stop()
            print(c.link.up, c.downs)
            """,
            broker.port,
        )
    assert broker.errors == []
    assert said == ["[True] True", "False []"]

    def string(s):
        return struct.pack("!H", len(s)) + s

    # MQTT 3.1.1, 3.1.2: protocol level 4; user, password, will retain, will QoS 1, will.
    assert seen[0] == string(b"MQTT") + bytes((4, 0b11101100)) + struct.pack("!H", 300) + string(
        b"c1"
    ) + string(b"evtill/v1/c1/status") + string(b"gone") + string(b"c1") + string(b"p" * 120)
    assert seen[1][2:] == string(CMD) + b"\x01" + string(b"evtill/v1/c1/usage/ack") + b"\x01"


def greeted(data):
    """After a good greeting: `data`."""

    def script(client):
        client.greet()
        client.send(data)
        client.closed()

    return script


def connacked(data):
    """In answer to CONNECT: `data`."""

    def script(client):
        client.expect(0x10)
        client.send(data)
        client.closed()

    return script


def hang_up(data, after=greeted):
    """`data`, then the connection is closed."""

    def script(client):
        if after is greeted:
            client.greet()
        else:
            client.expect(0x10)
        client.send(data)

    return script


def subacked(change):
    """change(packet id) in answer to SUBSCRIBE."""

    def script(client):
        client.expect(0x10)
        client.send(CONNACK)
        body = client.expect(0x82)
        client.send(change(int.from_bytes(body[:2], "big")))
        client.closed()

    return script


BREACHES = [
    (hang_up(b""), "closed by the broker"),
    (hang_up(b"", connacked), "closed by the broker"),
    (hang_up(b"\x20\x02\x00", connacked), "closed by the broker"),
    (connacked(b"\x20\x01\x00"), "malformed CONNACK"),
    (connacked(b"\x20\x00"), "malformed CONNACK"),
    (connacked(b"\x20\x03\x00\x00\x00"), "malformed CONNACK"),
    (connacked(b"\x20\x02\x02\x00"), "malformed CONNACK"),
    (connacked(b"\x20\x02\x00\x05"), "refused by the broker: code 5"),
    (connacked(b"\x20\x82\x80\x80\x80\x00"), "remaining length of more than 4 bytes"),
    (connacked(b"\x21\x02\x00\x00"), "packet of type 0x21"),
    (connacked(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "packet of type 0x48"),
    (connacked(b"\x16\x03\x01\x02\x00\x01"), "packet of type 0x16"),
    (connacked(publish(CMD, b"x")), "PUBLISH before CONNACK"),
    (connacked(publish(CMD, bytes(3000))), "packet of 3021 bytes"),
    (connacked(suback(1)), "malformed SUBACK"),
    (connacked(puback(1)), "malformed PUBACK"),
    (subacked(lambda pid: suback(pid + 1)), "malformed SUBACK"),
    (subacked(lambda pid: suback(pid, b"")), "malformed SUBACK"),
    (subacked(lambda pid: suback(pid, b"\x01\x01")), "malformed SUBACK"),
    (subacked(lambda pid: suback(pid, b"\x80")), "subscription refused"),
    (subacked(lambda pid: suback(pid, b"\x02")), "subscription refused"),
    (subacked(lambda pid: CONNACK), "malformed CONNACK"),
    (greeted(CONNACK), "malformed CONNACK"),
    (greeted(suback(1)), "malformed SUBACK"),
    (greeted(b"\x40\x03\x00\x01\x00"), "malformed PUBACK"),
    (greeted(b"\x40\x01\x00"), "malformed PUBACK"),
    (greeted(b"\x40\x00"), "malformed PUBACK"),
    (greeted(b"\xd0\x01\x00"), "malformed PINGRESP"),
    (greeted(b"\x40\xff\x7f\x00"), "packet of 16386 bytes"),
    (greeted(b"\x30\xff\xff\xff\xff\x01"), "remaining length of more than 4 bytes"),
    (greeted(b"\x30\xff\xff\xff\x7f"), "packet of 268435460 bytes"),
    (greeted(b"\x30\x00"), "malformed PUBLISH"),
    (greeted(b"\x30\x01\x00"), "malformed PUBLISH"),
    (greeted(b"\x30\x02\x00\x00"), "malformed PUBLISH"),
    (greeted(b"\x30\x04\x00\x03ab"), "malformed PUBLISH"),
    (greeted(b"\x30\x04\xff\xffab"), "malformed PUBLISH"),
    (greeted(b"\x32\x04\x00\x02ab"), "malformed PUBLISH"),
    (greeted(b"\x32\x05\x00\x02ab\x01"), "malformed PUBLISH"),
    (greeted(publish(CMD, b"x", 0)), "malformed PUBLISH"),
    (greeted(b"\x30\xb8\x17\xff\xff" + bytes(3000)), "malformed PUBLISH"),  # topic > the buffer
    (greeted(b"\x32\xb8\x17\x07\xfb" + bytes(3000)), "malformed PUBLISH"),  # id is the buffer's end
    (greeted(b"\x34\x06\x00\x02ab\x00\x01"), "packet of type 0x34"),  # QoS 2
    (greeted(b"\x36\x06\x00\x02ab\x00\x01"), "packet of type 0x36"),  # QoS 3
    (greeted(b"\x62\x02\x00\x01"), "packet of type 0x62"),  # PUBREL
    (greeted(b"\x00"), "packet of type 0x00"),
    (greeted(b"\xff" * 100), "packet of type 0xff"),
    (hang_up(publish(CMD, b"half a message", 7)[:-5]), "closed by the broker"),
    (hang_up(b"\x30"), "closed by the broker"),
]


@pytest.mark.parametrize("bits", [32, 64])
def test_every_breach_ends_the_connection_with_its_reason_and_the_next_one_works(bits):
    with MqttBroker(*(script for script, _ in BREACHES), greeted(publish(CMD, b"ok"))) as broker:
        said = board(
            """
            c = Client().start()
            await c.until(lambda: c.messages)
            print("\\n".join(c.downs))
            await c.stop()
            print(c.messages)
            """,
            broker.port,
            bits=bits,
        )
    assert broker.errors == []
    assert said[:-1] == [reason for _, reason in BREACHES]
    assert said[-1] == "[(b'evtill/v1/c1/cmd', b'ok')]"


def test_a_reset_connection_is_a_link_error():
    def reset(client):
        client.greet()
        client.expect(0x32)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with MqttBroker(reset, greeted(b"")) as broker:
        said = board(
            """
            c = Client().start()
            await c.until(lambda: c.ups)
            c.link.publish_nowait(TOPIC, b"x")
            await c.until(lambda: len(c.ups) == 2)
            print(c.downs)
            await c.stop()
            """,
            broker.port,
        )
    assert said == ["['read: [Errno 104] ECONNRESET']"]


def test_messages_cut_anywhere_arrive_whole_and_are_acknowledged_in_order():
    messages = [(b"evtill/v1/c1/cmd", bytes(range(n % 256)) * (n // 200 + 1)) for n in
                (0, 1, 90, 255, 799, 3)]  # fmt: skip
    stream = b"".join(
        publish(topic, payload, 0x101 + i if i % 3 else None)
        + (PINGRESP if i == 2 else b"")
        for i, (topic, payload) in enumerate(messages)
    )
    asked = [0x101 + i for i in range(len(messages)) if i % 3]

    def cut_at(sizes):
        def script(client):
            client.greet()
            at = 0
            while at < len(stream):
                n = sizes()
                client.send(stream[at : at + n])
                at += n
                time.sleep(0.0005)
            for pid in asked:
                assert client.expect(0x40) == pid.to_bytes(2, "big")
            client.send(publish(b"end", b""))
            client.closed()

        return script

    rng = random.Random(4)
    ways = [
        lambda: 1,
        lambda: len(stream),
        lambda: rng.randrange(1, 9),
        lambda: rng.choice((1, 700)),
    ]
    with MqttBroker(*map(cut_at, ways)) as broker:
        said = board(
            f"""
            for way in range({len(ways)}):
                c = Client().start()
                await c.until(lambda: c.messages and c.messages[-1][0] == b"end")
                import hashlib, binascii
                h = hashlib.sha256()
                for t, p in c.messages[:-1]:
                    h.update(t + b"|" + p + b"|")
                print(len(c.messages), binascii.hexlify(h.digest()).decode(), c.downs)
                await c.stop()
            """,
            broker.port,
        )
    digest = hashlib.sha256(b"".join(t + b"|" + p + b"|" for t, p in messages)).hexdigest()
    assert broker.errors == []
    assert said == [f"{len(messages) + 1} {digest} []"] * len(ways)


def test_a_message_longer_than_the_buffer_is_skipped_acknowledged_and_counted():
    def script(client):
        client.greet()
        for size, pid in ((2048, 5), (5000, 6), (65000, 7)):
            client.send(publish(CMD, bytes(size), pid) + publish(CMD, b"after", pid + 10))
            assert client.expect(0x40) == bytes((0, pid))
            assert client.expect(0x40) == bytes((0, pid + 10))
        client.send(publish(CMD, bytes(5000)) + publish(CMD, b"end"))
        client.closed()

    with MqttBroker(script) as broker:
        said = board(
            """
            c = Client().start()
            await c.until(lambda: len(c.messages) == 4)
            print([p for _, p in c.messages], c.link.skipped, c.downs)
            await c.stop()
            """,
            broker.port,
        )
    assert broker.errors == []
    assert said == ["[b'after', b'after', b'after', b'end'] 4 []"]


def test_a_message_that_just_fits_the_buffer_arrives():
    whole = publish(CMD, bytes(2048 - 3 - 2 - len(CMD) - 2), 9)
    assert len(whole) == 2048

    def script(client):
        client.greet()
        client.send(publish(CMD, b"first") + whole + publish(CMD, b"last"))
        assert client.expect(0x40) == b"\x00\x09"
        client.closed()

    with MqttBroker(script) as broker:
        said = board(
            """
            c = Client().start()
            await c.until(lambda: len(c.messages) == 3)
            print([len(p) for _, p in c.messages], c.link.skipped, c.downs)
            await c.stop()
            """,
            broker.port,
        )
    assert broker.errors == []
    assert said == ["[5, 2025, 4] 0 []"]


def test_no_puback_before_the_callback_has_returned():
    def fails(client):
        client.greet()
        client.send(publish(CMD, b"boom", 3))
        with pytest.raises((EOFError, ConnectionError)):
            client.packet()

    def works(client):
        client.greet()
        client.send(publish(CMD, b"again", 3, 0x38))
        # What the callback publishes goes out before the acknowledgement: it ran to its end first.
        assert client.packet()[0] == 0x30
        assert client.expect(0x40) == b"\x00\x03"
        client.closed()

    with MqttBroker(fails, works) as broker:
        said = board(
            """
            c = Client()

            def on_message(topic, payload):
                if payload == b"boom":
                    raise KeyError("the application's own fault")
                c.link.publish_nowait("evtill/v1/c1/meter", b"{}", qos=0)
                c.on_message(topic, payload)

            c.link.on_message = on_message
            c.start()
            try:
                await asyncio.wait_for(c.task, 5)
            except KeyError as e:
                print(repr(e), c.link.sock)
            c.start()
            await c.until(lambda: c.messages)
            await c.stop()
            """,
            broker.port,
        )
    assert broker.errors == []
    assert said == ["KeyError(\"the application's own fault\",) None"]


def test_pubacks_are_matched_and_strangers_harm_nothing():
    def script(client):
        client.greet()
        ids = [client.packet() for _ in range(3)]
        assert [first for first, _ in ids] == [0x32, 0x32, 0x33]
        a, b, c = (int.from_bytes(body[20:22], "big") for _, body in ids)
        # unknown, out of order, doubled
        client.send(puback(999) + puback(c) + puback(a) + puback(a) + puback(b))
        client.closed()

    with MqttBroker(script) as broker:
        said = board(
            """
            c = Client(window=3).start()
            await c.until(lambda: c.ups)
            ids = [c.link.publish_nowait(TOPIC, b"1"), c.link.publish_nowait(TOPIC, "2"),
                   c.link.publish_nowait(TOPIC, bytearray(b"3"), True)]
            print(c.link.publish_nowait(TOPIC, b"4"), c.link.in_flight)
            print(c.link.publish_nowait(TOPIC, b"QoS 0 needs no window", qos=0))
            await c.until(lambda: len(c.pubacks) == 3)
            print(c.pubacks == [ids[2], ids[0], ids[1]], c.link.stray, c.link.in_flight, c.rooms)
            await c.stop()
            """,
            broker.port,
        )
    assert broker.errors == []
    assert said == ["None 3", "0", "True 2 0 1"]


def test_packet_ids_wrap_without_zero_and_without_one_that_is_in_flight():
    ids = []

    def script(client):
        client.greet()
        for _ in range(4):
            body = client.expect(0x32)
            ids.append(int.from_bytes(body[20:22], "big"))
        client.closed()

    with MqttBroker(script) as broker:
        board(
            """
            c = Client().start()
            await c.until(lambda: c.ups)
            for start in (65533, None, None, 65534):
                if start is not None:
                    c.link.pid = start
                c.link.publish_nowait(TOPIC, b"x")
            await c.until(lambda: c.downs or c.link.in_flight == 4)
            await asyncio.sleep_ms(50)
            """,
            broker.port,
        )
    assert broker.errors == []
    assert ids == [65534, 65535, 1, 2]


@pytest.mark.parametrize("tx_bytes", [4100, 512])  # a packet at once, and in two
def test_partial_writes_are_queued_bounded_and_lose_no_byte(tx_bytes):
    total = []

    def script(client):
        client.greet()
        time.sleep(0.3)  # reads nothing: the client's socket fills up
        n = 0
        while n < 400:
            first, body = client.packet()
            if first == 0x30:
                assert body[20:] == struct.pack("<I", n) * 1000
                n += 1
            total.append(first)
        client.send(publish(CMD, b"done"))
        client.closed()

    with MqttBroker(script, receive_buffer=4096) as broker:
        said = board(
            """
            import struct
            c = Client(tx_bytes=TX_BYTES).narrow().start()
            await c.until(lambda: c.ups)
            waited = 0
            for n in range(400):
                payload = struct.pack("<I", n) * 1000
                if c.link.publish_nowait(TOPIC, payload, qos=0) is None:
                    waited += 1
                    await c.publish(payload, qos=0)
            await c.until(lambda: c.messages)
            print(waited > 10, c.rooms == waited, c.downs)
            await c.stop()
            """.replace("TX_BYTES", str(tx_bytes)),
            broker.port,
            bits=64,
        )
    assert broker.errors == []
    assert said == ["True True []"]


def test_a_broker_that_asks_for_acknowledgements_and_reads_none_is_dropped():
    def script(client):
        client.greet()
        with pytest.raises(ConnectionError):
            for _ in range(3000):
                client.send(publish(CMD, b"", 1) * 2000)

    with MqttBroker(script, greeted(b""), receive_buffer=4096) as broker:
        said = board(
            """
            c = Client()
            c.narrow()
            c.link.on_message = lambda t, p: None
            c.start()
            await c.until(lambda: c.downs)
            print(c.downs)
            await c.stop()
            """,
            broker.port,
            bits=64,
        )
    assert broker.errors == []
    assert said == ["['the broker takes nothing']"]


def test_a_payload_that_does_not_fit_the_buffer_is_sent_from_where_it_lies():
    with MqttBroker(greeted(b"")) as broker:
        said = board(
            """
            from evtill.core.errors import LinkError
            c = Client()
            try:
                c.link.publish_nowait(TOPIC, b"x")
            except LinkError as e:
                print(e)
            c.start()
            await c.until(lambda: c.ups)
            print(c.link.publish_nowait(TOPIC, bytes(9000)) > 0)
            await c.stop()
            """,
            broker.port,
        )
    assert broker.errors == []
    assert said == ["link is down", "True"]


def test_silence_is_noticed_in_every_state():
    def silent(client):
        client.closed()

    def no_suback(client):
        client.expect(0x10)
        client.send(CONNACK)
        client.closed()

    pings = []

    def deaf(client):
        client.greet()
        pings.append(client.packet())
        client.closed()

    def no_puback(client):
        client.greet()
        while True:
            first, _ = client.packet()
            if first == 0xC0:
                client.send(PINGRESP)

    def answers(client):
        client.greet()
        for _ in range(3):
            pings.append(client.packet())
            client.send(PINGRESP)
        client.closed()

    with MqttBroker(silent, no_suback, deaf, no_puback, answers) as broker:
        said = board(
            """
            c = Client(keepalive=1)
            c.link.connect_ms = c.link.dead_ms = 200
            c.link.puback_ms = 300
            c.start()
            for n in range(4):
                start = time.ticks_ms()
                if n == 3:
                    await c.until(lambda: len(c.ups) == 2)
                    c.link.publish_nowait(TOPIC, b"x")
                await c.until(lambda: len(c.downs) > n)
                print(c.downs[-1], time.ticks_diff(time.ticks_ms(), start) < 1500)
            await c.until(lambda: len(c.ups) == 3)
            await asyncio.sleep_ms(1700)
            print(c.downs[4:], c.link.up)
            await c.stop()
            """,
            broker.port,
        )
    assert broker.errors == []
    assert pings == [(0xC0, b"")] * 4
    assert said == [
        "no answer to CONNECT True",
        "no answer to SUBSCRIBE True",
        "the broker is silent True",
        "no PUBACK True",
        "[] True",
    ]


def test_a_dead_peer_is_noticed_while_the_application_goes_on_publishing():
    def swallow(client):
        client.greet()
        client.closed()

    with MqttBroker(swallow) as broker:
        said = board(
            """
            c = Client(keepalive=1)
            c.link.dead_ms = 200
            c.start()
            await c.until(lambda: c.ups)
            start = time.ticks_ms()
            while not c.downs:
                if c.link.up:
                    c.link.publish_nowait("evtill/v1/c1/meter", b"{}", qos=0)
                await asyncio.sleep_ms(20)
            print(c.downs[0], time.ticks_diff(time.ticks_ms(), start) < 1500)
            await c.stop()
            """,
            broker.port,
        )
    assert said == ["the broker is silent True"]


def test_an_idle_link_wakes_only_for_its_pings():
    def script(client):
        client.greet()
        while client.packet()[0] == 0xC0:
            client.send(PINGRESP)

    with MqttBroker(script) as broker:
        said = board(
            """
            polls = 0
            c = Client(keepalive=2).start()
            await c.until(lambda: c.ups)
            await asyncio.sleep_ms(10)
            queue = asyncio.core._io_queue
            poller = queue.poller

            class Counting:
                register = poller.register
                modify = poller.modify
                unregister = poller.unregister

                def ipoll(self, timeout):
                    nonlocal polls
                    polls += 1
                    return poller.ipoll(timeout)

            queue.poller = Counting()
            await asyncio.sleep_ms(2500)
            queue.poller = poller
            print(polls, polls <= 20)
            await c.stop()
            """,
            broker.port,
        )
    assert broker.errors == []
    assert said[0].endswith("True"), said


def test_pauses_between_attempts_grow_at_random_to_their_bound_and_shrink_after_a_good_link():
    def good(client):
        client.greet()
        body = client.expect(0x32)
        client.send(puback(int.from_bytes(body[20:22], "big")))

    with MqttBroker(*[hang_up(b"", connacked)] * 8, good, hang_up(b"", connacked)) as broker:
        board(
            """
            c = Client()
            c.link.backoff_ms = (20, 200)
            c.start()
            await c.until(lambda: c.ups)
            c.link.publish_nowait(TOPIC, b"x")
            await c.until(lambda: len(c.downs) == 11)
            c.task.cancel()
            """,
            broker.port,
        )
    at = broker.accepted_at
    pauses = [b - a for a, b in itertools.pairwise(at)]
    for i, pause in enumerate(pauses[:8]):
        bound = min(20 << i, 200) / 1000
        assert bound / 2 <= pause <= bound + 0.1, (i, pause)
    assert 0.01 <= pauses[8] <= 0.12  # begins anew after the PUBACK
    assert broker.errors == []


def test_run_can_be_cancelled_at_any_moment_and_started_again():
    def slow(client):
        time.sleep(0.02)
        client.greet()
        client.closed()

    with MqttBroker(slow) as broker:
        said = board(
            """
            c = Client()
            for ms in (0, 1, 3, 10, 25, 40, 60):
                c.start()
                await asyncio.sleep_ms(ms)
                c.task.cancel()
                try:
                    await c.task
                except asyncio.CancelledError:
                    pass
                print(c.link.sock, c.link.up)
            c.start()
            await c.until(lambda: c.link.up)
            await c.stop()
            print(c.downs)
            c.start()
            await asyncio.sleep_ms(0)
            c.link.disconnect()  # while the worker connects
            await asyncio.wait_for(c.task, 5)
            print(c.link.sock, c.link.up)
            """,
            broker.port,
        )
    assert said == ["None False"] * 7 + ["[]", "None False"]


def mutate(rng, stream):
    """`stream` with a few bytes changed, lost or added."""
    data = bytearray(stream)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 5)]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            del data[at:]
        if not data:
            data = bytearray(b"\x00")
    return bytes(data)


def noise(seed):
    def script(client):
        rng = random.Random(seed)
        good = publish(CMD, rng.randbytes(rng.randrange(300)), rng.randrange(1, 65536)) + PINGRESP
        good += puback(rng.randrange(65536)) + publish(CMD, b"y" * rng.randrange(3000))
        if seed % 3 == 0:
            client.expect(0x10)
            client.send(mutate(rng, CONNACK + suback(1) + good))
        elif seed % 3 == 1:
            client.greet()
            client.send(mutate(rng, good))
        else:
            client.greet()
            client.send(rng.randbytes(rng.randrange(1, 400)))

    return script


def fuzz(seeds):
    scripts = [noise(seed) for seed in seeds]
    with MqttBroker(*scripts, greeted(publish(b"sane", b""))) as broker:
        said = board(
            """
            gc.threshold(8192)  # as the application has it
            c = Client()
            downs = 0
            sane = asyncio.Event()

            def on_down(reason):  # keeps no text: it would lie about and split the heap
                nonlocal downs
                downs += 1

            c.link.on_down = on_down
            c.link.on_message = lambda t, p: t == b"sane" and sane.set()
            c.start()
            ended = asyncio.create_task(sane.wait())
            while not ended.done() and not c.task.done():
                await asyncio.sleep_ms(50)
            await c.stop()
            gc.collect()
            print(downs, gc.mem_free() > 60000)
            """,
            broker.port,
            timeout_s=550,
        )
    assert broker.errors == []
    assert said == [f"{len(scripts)} True"]


def test_noise_ends_connections_and_nothing_else():
    fuzz(range(150))


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: make soak")
def test_much_noise_ends_connections_and_nothing_else():
    fuzz(range(1000, 3000))


def test_remaining_length_of_the_scripted_broker_is_the_standards():
    # MQTT 3.1.1, table 2.4
    assert [mqtt_broker.length(n) for n in (0, 127, 128, 16383, 16384, 2097151)] == [
        b"\x00", b"\x7f", b"\x80\x01", b"\xff\x7f", b"\x80\x80\x01", b"\xff\xff\x7f",
    ]  # fmt: skip
