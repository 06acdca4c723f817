"""`ssl`, which the PC's build lacks: the few names that the ESP32's has, over `tls`."""

from tls import CERT_NONE, CERT_REQUIRED, PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, SSLContext


def wrap_socket(sock, server_side=False, cert_reqs=CERT_NONE, cadata=None, server_hostname=None):
    context = SSLContext(PROTOCOL_TLS_SERVER if server_side else PROTOCOL_TLS_CLIENT)
    context.verify_mode = cert_reqs
    if cadata is not None:
        context.load_verify_locations(cadata)
    return context.wrap_socket(sock, server_side=server_side, server_hostname=server_hostname)


__all__ = ["CERT_REQUIRED", "wrap_socket"]
