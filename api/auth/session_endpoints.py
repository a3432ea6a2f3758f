"""`/v1/session`: a browser signs in with a key or a sign-in link, asks who it is, and signs out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import CLOSED, authenticate, digest_of_sent, find_valid
from api.auth.key_cache import KeyCache
from api.auth.sessions import COOKIE, LIFETIME_MS, BrowserSession, Sessions, is_own_site
from api.errors import BadParameter, FilterNotApplied, ForgedRequest, InvalidBody
from api.http.caller import CALLER, Caller
from api.http.json_body import check_json, json_body
from api.http.json_encoding import to_json
from schemas.limits import SECOND_MS
from schemas.responses.session import SessionAnswer
from schemas.store.keys import Key
from schemas.units import iso

Clock = Callable[[], int]

BODY_BYTES_MAX: Final = 2 * 1024
PRIVATE: Final = {"cache-control": "no-store"}


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """One of both."""

    key: str = ""
    link: str = ""


def routes(sessions: Sessions, key_cache: KeyCache, clock: Clock) -> list[Route]:
    endpoint = partial(session, sessions=sessions, key_cache=key_cache, clock=clock)
    return [Route("/v1/session", endpoint, methods=["GET", "POST", "DELETE"])]


async def session(
    request: Request, sessions: Sessions, key_cache: KeyCache, clock: Clock
) -> Response:
    now_ms = clock()
    caller = CALLER.get() or Caller()
    if request.method == "POST":
        return await _sign_in(request, caller, sessions, key_cache, now_ms)
    key = await authenticate(key_cache, request.headers, now_ms, filters=True)
    if caller.has_token:
        raise FilterNotApplied(CLOSED)  # who has a token learns nothing of its key
    if request.method == "DELETE":
        response = Response(status_code=204, headers=PRIVATE)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response
    return _answer(key, await sessions.find(caller, now_ms))


async def _sign_in(
    request: Request, caller: Caller, sessions: Sessions, key_cache: KeyCache, now_ms: int
) -> Response:
    if not is_own_site(caller):  # it would sign in a visitor as somebody else
        raise ForgedRequest("a page of another origin cannot sign in: open the page of this server")
    body = await json_body(request, BODY_BYTES_MAX, "")
    check_json(body)
    try:
        sent = msgspec.json.decode(body, type=SignIn)
    except msgspec.DecodeError as error:
        raise InvalidBody(400, "invalid-body", f"The body is not a sign-in: {error}.") from error
    if bool(sent.key) == bool(sent.link):
        raise BadParameter("key", "Send either `key` or `link`.", ("key", "link"))
    if sent.link:
        digest = await sessions.redeem(sent.link, caller) or ""
    else:
        digest = digest_of_sent(sent.key)
    known = await find_valid(key_cache, digest, caller, now_ms)
    key_cache.take(known)
    cookie, begun = await sessions.begin(digest, now_ms)
    response = _answer(known.record, begun)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=LIFETIME_MS // SECOND_MS,
        path="/",
        # Behind a proxy the request is HTTP. The page's own origin says what the browser uses.
        secure=request.headers.get("origin", "").startswith("https://"),
        httponly=True,
        samesite="strict",
    )
    return response


def _answer(key: Key, found: BrowserSession | None) -> Response:
    content = SessionAnswer(
        key=key.id,
        name=key.name,
        role=key.role,
        tenants="*" if isinstance(key.tenants, str) else list(key.tenants),
        csrf=found.csrf if found else None,
        expires=iso(found.expires_ms) if found else None,
    )
    return Response(to_json(content.model_dump()), headers=PRIVATE, media_type="application/json")
