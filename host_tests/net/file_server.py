"""An HTTPS server with files, and with what may go wrong on the way."""

import contextlib
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Serves `files` ({path: bytes}) over TLS with the certificate `issued`.

    faults: {path: {what goes wrong there}}. cut: so many bytes are sent, then the connection ends;
    redirect: where to, instead; length: what is said of the file's, None for nothing. heard: the
    (path, headers) asked for."""

    def __init__(self, issued, files):
        self.files = files
        self.faults = {}
        self.heard = []
        self.use(issued)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self):
                self.request.settimeout(20)
                self.request = server.context.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_GET(self):
                server.heard.append((self.path, dict(self.headers)))
                server.answer(self)

            def log_message(self, *_):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # a charger that hangs up, as it should
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def use(self, issued):
        """Shows another certificate from now on."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(issued.certificate, issued.key)

    def answer(self, to):
        content = self.files.get(to.path)
        fault = self.faults.get(to.path, {})
        if "redirect" in fault:
            to.send_response(302)
            to.send_header("Location", fault["redirect"])
            to.end_headers()
        elif content is None:
            to.send_error(404)
        else:
            to.send_response(200)
            length = fault.get("length", len(content))
            if length is not None:
                to.send_header("Content-Length", str(length))
            to.end_headers()
            with contextlib.suppress(OSError):
                to.wfile.write(content[: fault.get("cut")])

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
