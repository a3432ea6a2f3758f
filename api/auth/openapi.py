"""OpenAPI of `/v1/keys` and `/v1/tokens`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from schemas.responses.keys import (
    AuditAnswer,
    KeyMade,
    KeysAnswer,
    KeysHeld,
    KeyShown,
    KeyWanted,
    Rotation,
    TokenMade,
    TokenWanted,
)
from schemas.responses.session import SessionAnswer
from schemas.store.keys import ID_PATTERN

Object = dict[str, Any]

MODELS: Final[tuple[type[BaseModel], ...]] = (
    KeyMade,
    KeyShown,
    KeysAnswer,
    AuditAnswer,
    SessionAnswer,
    TokenMade,
)
"""The models of answers."""
FORMS: Final[tuple[type[BaseModel], ...]] = (KeyWanted, KeysHeld, Rotation, TokenWanted)
"""The models of request bodies."""

_WANTED: Final[Object] = {"name": "dashboard", "tenants": ["acme"], "role": "viewer"}
_ID: Final[Object] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The public id of the key, as `GET /v1/keys` lists it.",
    "schema": {"type": "string", "pattern": f"^{ID_PATTERN}$"},
}


def paths(
    answers: Mapping[type[BaseModel], Object],
    forms: Mapping[type[BaseModel], Object],
    errors: Object,
) -> Object:
    """The paths; `errors`: the responses that each of them can have."""

    def answer(about: str, model: type[BaseModel]) -> Object:
        return {"description": about, "content": {"application/json": {"schema": answers[model]}}}

    def form(model: type[BaseModel], example: Object) -> Object:
        content = {"schema": forms[model], "examples": {"one": {"value": example}}}
        return {"required": True, "content": {"application/json": content}}

    errors = errors | {"403": _like(errors, "The role of the key is too low.")}
    missing = {"404": _like(errors, "There is no key with this id among the keys that you manage.")}
    body = {
        "413": _like(errors, "The body is too large."),
        "415": _like(errors, "The body is not JSON in UTF-8, or it is compressed."),
    }
    full = body | {"409": _like(errors, "The limit of stored keys is reached.")}
    return {
        "/v1/tokens": {
            "post": {
                "operationId": "makeToken",
                "summary": "Make a short-lived token that reads within filters, such as one person's usage",
                "requestBody": form(TokenWanted, {"only": {"user": "u-17"}, "ttl_s": 900}),
                "responses": {"201": answer("The token.", TokenMade), **errors},
            },
        },
        "/v1/keys": {
            "get": {
                "operationId": "listKeys",
                "summary": "List the keys that you manage: keys of your tenants, with roles up to yours",
                "responses": {
                    "200": answer("The keys, never their secrets.", KeysAnswer),
                    **errors,
                },
            },
            "post": {
                "operationId": "createKey",
                "summary": "Create a key. Its secret is shown only in this answer",
                "requestBody": form(KeyWanted, _WANTED),
                "responses": {"201": answer("The key and its secret.", KeyMade), **errors, **full},
            },
        },
        "/v1/keys/import": {
            "post": {
                "operationId": "importKeys",
                "summary": "Import keys that clients already have: all of them, or none",
                "requestBody": form(
                    KeysHeld, {"keys": [_WANTED | {"key": "lvk_0123456789abcdef"}]}
                ),
                "responses": {"201": answer("The imported keys.", KeysAnswer), **errors, **full},
            }
        },
        "/v1/keys/audit": {
            "get": {
                "operationId": "auditKeys",
                "summary": "The latest changes of your tenants' keys",
                "responses": {"200": answer("The changes, newest first.", AuditAnswer), **errors},
            }
        },
        "/v1/keys/{id}": {
            "delete": {
                "operationId": "revokeKey",
                "summary": "Revoke a key and all its secrets. Every API process rejects it within a second",
                "parameters": [_ID],
                "responses": {"200": answer("The revoked key.", KeyShown), **errors, **missing},
            }
        },
        "/v1/keys/{id}/rotate": {
            "post": {
                "operationId": "rotateKey",
                "summary": "Replace the secret of a key. The old secret stays valid for `grace_s`",
                "parameters": [_ID],
                "requestBody": form(Rotation, {"grace_s": 3600}),
                "responses": {
                    "200": answer("The key and its secret.", KeyMade),
                    **errors,
                    **missing,
                    **body,
                },
            }
        },
        "/v1/session": _session(answer("Who is signed in.", SessionAnswer), errors, body),
    }


def _session(who: Object, errors: Object, body: Object) -> Object:
    sign_in = {
        "type": "object",
        "properties": {"key": {"type": "string"}, "link": {"type": "string"}},
        "additionalProperties": False,
    }
    content = {"schema": sign_in, "examples": {"one": {"value": {"key": "als_..."}}}}
    return {
        "get": {
            "operationId": "getSession",
            "summary": "Who is signed in, or whose key the request has",
            "responses": {"200": who, **errors},
        },
        "post": {
            "operationId": "signIn",
            "summary": "Begin a session of a browser: with a key, or with the token of a sign-in link",
            "security": [],
            "requestBody": {"required": True, "content": {"application/json": content}},
            "responses": {"200": who, **errors, **body},
        },
        "delete": {
            "operationId": "signOut",
            "summary": "End the session of this browser",
            "responses": {"204": {"description": "The cookie is removed."}, **errors},
        },
    }


def _like(errors: Object, about: str) -> Object:
    return {"description": about, "content": errors["401"]["content"]}
