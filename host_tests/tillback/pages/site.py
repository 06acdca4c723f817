"""The driver's page on a real HTTP server, as its routes would serve it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tillback.language import choose
from tillback.pages import assets, pay


class Site:
    """Serves `page` under any path; a context manager. posted: (path, form) of each POST, which
    moves the page on to `then`. asked: the paths of all GETs. fails: the news answer 503."""

    def __init__(self):
        self.page = self.then = None
        self.posted, self.asked = [], []
        self.fails = False
        self.news = None  # instead of the page's own
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                site.answer(self)

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                site.posted.append((self.path, dict(parse_qsl(self.rfile.read(length).decode()))))
                site.page = site.then or site.page
                site.send(self, 303, b"", {"Location": "./?lang=" + site.posted[-1][1]["lang"]})

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/c/1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def answer(self, to):
        parts = urlsplit(to.path)
        name = parts.path.rpartition("/")[2]
        asked = parse_qs(parts.query).get("lang", [None])[0]
        language = choose(asked, to.headers["Accept-Language"])
        if name in assets.ASSETS:
            asset = assets.ASSETS[name]
            self.send(to, 200, asset.body, assets.HEADERS | {"Content-Type": asset.media_type})
        elif name.endswith(".json"):
            news = json.dumps(self.news or pay.status(self.page, language)).encode()
            kind = {"Content-Type": "application/json"}
            self.send(to, 503 if self.fails else 200, news, pay.headers() | kind)
        else:
            kind = {"Content-Type": "text/html; charset=utf-8"}
            self.send(to, 200, pay.html(self.page, language).encode(), pay.headers() | kind)

    def send(self, to, status, body, headers):
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name, value)
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
