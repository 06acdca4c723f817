"""The link over TLS: the handshake in the worker, everything after it without blocking."""

import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from host_tests.fakes.mqtt_broker import MqttBroker, puback, publish
from host_tests.net.board import board

CMD = b"evtill/v1/c1/cmd"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(server context, path of the certificate that a client has to trust, DER)"""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("127.0.0.1")]), False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    pem += key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.pem").write_bytes(pem)
    (folder / "ca.der").write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, folder / "ca.der"


@pytest.mark.parametrize("bits", [32, 64])
def test_both_ways_over_tls_in_pieces_of_every_size(server, bits):
    context, ca = server
    sizes = [0, 1, 700, 1500, 1900, 3]

    def script(client):
        client.greet()
        # In one record of TLS: more than one read of the client's buffer takes.
        client.send(b"".join(publish(CMD, bytes([i]) * n, i + 1) for i, n in enumerate(sizes)))
        acknowledged, heard = [], 0
        while heard < 40 or len(acknowledged) < len(sizes):
            first, body = client.packet()
            if first == 0x40:
                acknowledged.append(body[1])
            elif first == 0x32:
                assert body[22:] == bytes([heard]) * 3000
                heard += 1
                client.send(puback(int.from_bytes(body[20:22], "big")))
        assert acknowledged == [i + 1 for i in range(len(sizes))]
        client.closed()

    with MqttBroker(script, tls=context, receive_buffer=4096) as broker:
        said = board(
            f"""
            import tls
            gc.threshold(8192)
            context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
            with open("{ca}", "rb") as f:
                context.load_verify_locations(f.read())
            class Narrow:
                def wrap_socket(self, sock, **how):
                    sock.setsockopt(1, 7, 4096)  # SOL_SOCKET, SO_SNDBUF of Linux
                    return context.wrap_socket(sock, **how)

            c = Client(ssl=Narrow()).start()
            await c.until(lambda: c.ups)
            for n in range(40):
                await c.publish(bytes((n,)) * 3000)
            await c.until(lambda: len(c.pubacks) == 40 and len(c.messages) == {len(sizes)})
            print([(len(p), set(p)) for _, p in c.messages], c.downs)
            await c.stop()
            """,
            broker.port,
            bits=bits,
        )
    assert broker.errors == []
    expected = [(n, {i} if n else set()) for i, n in enumerate(sizes)]
    assert said == [f"{expected} []"]


def test_a_certificate_that_does_not_verify_is_a_link_error(server):
    context, _ = server
    with MqttBroker(lambda client: client.greet(), tls=context) as broker:
        said = board(
            """
            import tls
            c = Client(ssl=tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)).start()
            await c.until(lambda: len(c.downs) == 2)
            print(c.downs[0], c.ups)
            c.task.cancel()
            """,
            broker.port,
        )
    assert said[0].startswith("cannot connect: ") and said[0].endswith(" []"), said
