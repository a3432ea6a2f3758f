"""Serves the page at `/` and its assets, compressed once at the start.

The path of an asset has a digest of all assets. So a browser keeps an asset for a year, and another
version of the page has other paths.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ASSETS: Final = Path(__file__).parent / "assets"
MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
VERSION: Final = "{version}"
"""What the page has for the digest of its assets."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
FOREVER: Final = "public, max-age=31536000, immutable"
"""A year, the most that caches accept."""
COMPRESSION_LEVEL: Final = 9


@dataclass(frozen=True)
class Asset:
    """A file of the page, and the same compressed."""

    plain: bytes
    packed: bytes
    headers: Mapping[str, str]

    def response(self, request: Request) -> Response:
        accepts = "gzip" in request.headers.get("accept-encoding", "")
        headers = {**self.headers, "vary": "accept-encoding"}
        if accepts:
            headers["content-encoding"] = "gzip"
        if request.headers.get("if-none-match") == self.headers.get("etag", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.packed if accepts else self.plain, headers=headers)


def routes() -> list[Route]:
    files = {
        path.relative_to(ASSETS).as_posix(): path.read_bytes()
        for path in sorted(ASSETS.rglob("*"))
        if path.suffix in MEDIA_TYPES
    }
    digest = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
    page = files.pop("index.html").replace(VERSION.encode(), digest.encode())
    assets = {name: _asset(name, content, FOREVER) for name, content in files.items()}
    home = _asset("index.html", page, "no-cache", digest)
    return [
        Route("/", partial(_send, asset=home)),
        Route(f"/page/{digest}/{{name:path}}", partial(_send_named, assets=assets)),
    ]


async def _send(request: Request, asset: Asset) -> Response:
    return asset.response(request)


async def _send_named(request: Request, assets: Mapping[str, Asset]) -> Response:
    asset = assets.get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404)
    return asset.response(request)


def _asset(name: str, content: bytes, caching: str, tag: str = "") -> Asset:
    headers = {
        "content-type": MEDIA_TYPES[Path(name).suffix],
        "cache-control": caching,
        **SECURITY,
        **({"etag": f'W/"{tag}"'} if tag else {}),
    }
    packed = gzip.compress(content, COMPRESSION_LEVEL, mtime=0)
    return Asset(content, packed, headers)
