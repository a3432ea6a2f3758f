"""`/v1/keys`: an admin creates, lists, rotates and revokes keys of its tenants, up to its own role.

A key that the admin does not manage is not found. Answers with a secret are never cached.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.audit import AUDIT_SHOWN, Actor, read_audit
from api.auth.authenticate import authenticate, check_role, reader, share_of, tenant_of
from api.auth.key_cache import KeyCache
from api.auth.keys import (
    IMPORT_MAX,
    KeySpec,
    NewKey,
    create_keys,
    expiry,
    list_keys,
    revoke_key,
    rotate_key,
)
from api.auth.tokens import Token, check_bound
from api.errors import FilterNotApplied, InvalidBody, InvalidKey, KeyExists, TooManyKeys
from api.http.caller import CALLER, Caller
from api.http.json_body import check_json, json_body
from api.http.parameters import check_names
from api.store.reader import Store
from schemas.errors import InvalidEvent
from schemas.formats.structure import check_structure
from schemas.limits import SECOND_MS
from schemas.responses.keys import (
    AuditAnswer,
    AuditLine,
    KeyHeld,
    KeyMade,
    KeysAnswer,
    KeyWanted,
    Rotation,
    TokenMade,
    TokenWanted,
    bound_of,
    shown,
    shown_bound,
)
from schemas.store.keys import ALL, Key
from schemas.units import iso

Clock = Callable[[], int]
Body = TypeVar("Body", bound=BaseModel)

BODY_BYTES_MAX: Final = 16 * 1024
"""A key with 100 tenants of 64 characters: 7 kB."""
IMPORT_BYTES_MAX: Final = 1024 * 1024
"""1000 keys (`IMPORT_MAX`) of 1 kB."""
COMMAS_MAX: Final = 128
"""Commas of one key outside its texts: 100 tenants (`TENANTS_MAX`) and eight fields have 107."""
_REASONS: Final = {
    KeyExists: "key_exists",
    InvalidKey: "invalid_key",
    TooManyKeys: "too_many_keys",
}
PRIVATE: Final = {"cache-control": "no-store"}


def routes(store: Store, key_cache: KeyCache, clock: Clock) -> list[Route]:
    """The paths of keys."""

    def to(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        return partial(endpoint, store=store, key_cache=key_cache, clock=clock)

    return [
        Route("/v1/keys", to(_keys), methods=["GET", "POST"]),
        Route("/v1/keys/import", to(import_keys), methods=["POST"]),
        Route("/v1/keys/audit", to(audit), methods=["GET"]),
        Route("/v1/keys/{id}", to(revoke), methods=["DELETE"]),
        Route("/v1/keys/{id}/rotate", to(rotate), methods=["POST"]),
        Route("/v1/tokens", to(make_token), methods=["POST"]),
    ]


async def _keys(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /v1/keys` lists the keys that the caller manages; `POST` creates one."""
    now_ms = clock()
    key, actor = await _admin(request, key_cache, now_ms)
    if request.method == "POST":
        body = _parse(KeyWanted, await json_body(request, BODY_BYTES_MAX, share_of(key)))
        (made,) = await create_keys(store, [_wanted(body, request, key, now_ms)], actor, now_ms)
        return _made(made, now_ms, 201)
    _check_no_parameters(request)
    found = await list_keys(store, actor)
    return _sent(KeysAnswer(keys=[shown(each.record, each.last_used_ms, now_ms) for each in found]))


async def import_keys(
    request: Request, store: Store, key_cache: KeyCache, clock: Clock
) -> Response:
    """`POST /v1/keys/import`: import keys that clients already have. A failure is in the audit log."""
    now_ms = clock()
    key, actor = await _admin(request, key_cache, now_ms)
    held = keys_held(await json_body(request, IMPORT_BYTES_MAX, share_of(key)))
    try:
        wanted = [_wanted(one, request, key, now_ms) for one in held]
        made = await create_keys(store, wanted, actor, now_ms)
    except (InvalidKey, TooManyKeys) as error:
        source = (CALLER.get() or Caller()).source
        key_cache.failed_imports.note(_REASONS[type(error)], source, now_ms, key, len(held))
        raise
    return _sent(KeysAnswer(keys=[shown(each.record, None, now_ms) for each in made]), 201)


async def rotate(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`POST /v1/keys/{id}/rotate`: a new secret. The old one stays valid for `grace_s`."""
    now_ms = clock()
    key, actor = await _admin(request, key_cache, now_ms)
    body = _parse(Rotation, await json_body(request, BODY_BYTES_MAX, share_of(key)))
    grace_ms = body.grace_s * SECOND_MS
    made = await rotate_key(store, request.path_params["id"], grace_ms, actor, now_ms)
    return _made(made, now_ms, 200)


async def revoke(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`DELETE /v1/keys/{id}`: revoke all its secrets, on every process within a second."""
    now_ms = clock()
    _key, actor = await _admin(request, key_cache, now_ms)
    _check_no_parameters(request)
    record = await revoke_key(store, request.path_params["id"], actor, now_ms)
    return _sent(shown(record, None, now_ms))


async def audit(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /v1/keys/audit`: the changes of keys of the caller's tenants."""
    _key, actor = await _admin(request, key_cache, clock())
    _check_no_parameters(request)
    lines = await read_audit(store, actor, AUDIT_SHOWN)
    return _sent(AuditAnswer(lines=[_line(line) for line in lines]))


async def make_token(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`POST /v1/tokens`: a short-lived token that reads within filters."""
    now_ms = clock()
    key = await reader(key_cache, request.headers, now_ms, filters=True)
    caller = CALLER.get() or Caller()
    if caller.has_token:
        raise FilterNotApplied("a token cannot make tokens: use the key")
    body = _parse(TokenWanted, await json_body(request, BODY_BYTES_MAX, share_of(key)))
    only = bound_of(body.only)
    check_bound(only, store.catalog)
    tenant = tenant_of(key, request.headers)
    ends = [at_ms for at_ms in (now_ms + body.ttl_s * SECOND_MS, key.expires_ms) if at_ms]
    token = Token(caller.key_digest, tenant, only, min(ends))
    text = await key_cache.tokens.made(token)
    shown_ = shown_bound(only)
    return _sent(TokenMade(token=text, tenant=tenant, only=shown_, expires=iso(min(ends))), 201)


# -- the request -----------------------------------------------------------------------------------


async def _admin(request: Request, key_cache: KeyCache, now_ms: int) -> tuple[Key, Actor]:
    key = await authenticate(key_cache, request.headers, now_ms)
    check_role(key, "admin")
    has_limit = key.requests_per_s is not None
    actor = Actor(
        key.id,
        key.name,
        key.role,
        key.tenants,
        key.expires_ms,
        requests_per_s=key.requests_per_s,
        burst=key.limit_burst if has_limit else None,
        shared_limit=key.limit_to_share(),
    )
    return key, actor


def _check_no_parameters(request: Request) -> None:
    check_names(dict.fromkeys(request.query_params, ()), ())


class _Import(msgspec.Struct, forbid_unknown_fields=True):
    """`schemas.responses.keys.KeysHeld`, whose keys are not read yet."""

    keys: msgspec.Raw


def keys_held(content: bytes) -> list[KeyHeld]:
    """The keys of an import, read one after the other up to the first that is invalid. They are
    counted before. Raises InvalidKey."""
    _check_commas(content, "body", IMPORT_MAX * COMMAS_MAX)
    try:
        listed = msgspec.json.decode(content, type=_Import).keys
        items = msgspec.json.decode(listed, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidKey("keys", f"the body cannot be read: {error}") from None
    if content.strip()[1:-1].partition(b":")[2].strip() != bytes(listed).strip():
        raise InvalidKey("keys", "is in the body twice")  # the last would count
    if not 1 <= len(items) <= IMPORT_MAX:
        raise InvalidKey(
            "keys", f"{len(items)} keys in one request; at least 1, at most {IMPORT_MAX}"
        )
    return [_parse(KeyHeld, bytes(item), f"keys.{at}") for at, item in enumerate(items)]


def _parse(model: type[Body], content: bytes, where: str = "") -> Body:
    """The parsed body. Raises InvalidKey, which names the wrong field but never repeats its value.

    The model builds an error for each unknown field, so they are counted before.
    """
    _check_commas(content, where or "body", COMMAS_MAX)
    try:
        parsed = model.model_validate_json(content)
        check_json(content)
    except InvalidBody as error:
        raise InvalidKey(where or "body", str(error).removesuffix(".")) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in ((where,) if where else ()) + first["loc"])
        raise InvalidKey(place or "body", first["msg"].removeprefix("Value error, ")) from None
    return parsed


def _check_commas(content: bytes, where: str, commas_max: int) -> None:
    """Raises InvalidKey if the JSON has more entries than any valid one."""
    try:
        commas = check_structure(content, commas_max).commas
    except InvalidEvent as error:
        raise InvalidKey(where, error.detail) from None
    if commas > commas_max:
        raise InvalidKey(where, f"has more than {commas_max} commas outside its texts (COMMAS_MAX)")


def _wanted(body: KeyWanted, request: Request, key: Key, now_ms: int) -> KeySpec:
    return KeySpec(
        name=body.name,
        tenants=body.tenants or _tenants_of(body, request, key),
        role=body.role,
        expires_ms=None if body.expires is None else expiry(body.expires, now_ms),
        requests_per_s=body.requests_per_s,
        burst=body.burst,
        only=bound_of(body.only),
        secret=body.key if isinstance(body, KeyHeld) else None,
    )


def _tenants_of(body: KeyWanted, request: Request, key: Key) -> tuple[str, ...] | str:
    return ALL if body.role == "monitor" else (tenant_of(key, request.headers),)


# -- the answer ------------------------------------------------------------------------------------


def _made(made: NewKey, now_ms: int, status: int) -> Response:
    about = shown(made.record, None, now_ms).model_dump()
    return _sent(KeyMade(**about, key=made.secret), status)


def _line(line: dict[str, Any]) -> AuditLine:
    return AuditLine(at=iso(line.pop("at_ms")), **line)


def _sent(body: BaseModel, status: int = 200) -> Response:
    return Response(body.model_dump_json().encode(), status, PRIVATE, media_type="application/json")
