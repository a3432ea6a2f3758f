"""What every application of a dialect does with paths: names with line breaks, slashes at the end."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from api.http.application import application


async def named(request: Request) -> Response:
    """The name in the path."""
    return PlainTextResponse(request.path_params.get("name", "whole"))


def refused(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(type(error).__name__, 404)


def app_of(*, redirects_slashes: bool) -> Starlette:
    return application(
        [
            Route("/summary", named),
            Route("/list/", named, methods=["POST"]),
            Route("/models/{name:path}/chats", named),
            Route("/users/{name:path}", named),
        ],
        refused,
        redirects_slashes=redirects_slashes,
    )


async def answers_of(app: Starlette, method: str, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        return await client.request(method, path)


@pytest.mark.parametrize("name", ["a\nb", "\n", "a/b\n", "\r\n/x", "é\u2028"])
@pytest.mark.parametrize("redirects_slashes", [False, True])
async def test_a_name_in_a_path_may_have_line_breaks(name: str, *, redirects_slashes: bool) -> None:
    app = app_of(redirects_slashes=redirects_slashes)
    for path in ("/models/{}/chats", "/users/{}"):
        found = await answers_of(app, "GET", path.format(quote(name)))
        assert (found.status_code, found.text) == (200, name)
    assert (await answers_of(app, "GET", "/summary%0A")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/summary/?a=1&b=%2F", "/summary?a=1&b=%2F"),
        ("GET", "/models/a/b/chats/", "/models/a/b/chats"),
        ("POST", "/list", "/list/"),
        ("GET", "/models/%0d%0aX:%20y//%C3%BC%3F/chats/", "/models/%0D%0AX:%20y//%C3%BC%3F/chats"),
    ],
)
async def test_a_slash_at_the_end_is_redirected_on_the_same_host_and_scheme(
    method: str, path: str, target: str
) -> None:
    found = await answers_of(app_of(redirects_slashes=True), method, path)
    assert (found.status_code, found.headers["location"]) == (307, target)
    other = await answers_of(app_of(redirects_slashes=False), method, path)
    assert other.status_code == 404
