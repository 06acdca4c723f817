"""The files that pages load: from the same host, under names that change with what is in them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
          ".svg": "image/svg+xml"}  # fmt: skip
HEADERS = {"Cache-Control": "public, max-age=31536000, immutable",
           "X-Content-Type-Options": "nosniff"}  # fmt: skip


@dataclass(frozen=True)
class Asset:
    """A file as it is served."""

    name: str
    body: bytes
    media_type: str


def _load(name: str) -> Asset:
    path = Path(__file__).parent / name
    body = path.read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:12]
    return Asset(f"{path.stem}.{digest}{path.suffix}", body, _TYPES[path.suffix])


_OWN = {name: _load(name) for name in ("pay.css", "pay.js", "bolt.svg")}
ASSETS = {asset.name: asset for asset in _OWN.values()}  # by the name in the URL


def name_of(file: str) -> str:
    """The name in the URL of pay.css, pay.js or bolt.svg."""
    return _OWN[file].name
