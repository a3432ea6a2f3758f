"""OpenAPI of `/v1/keys`. Pure."""

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
)
from schemas.store.keys import ID_PATTERN

Object = dict[str, Any]

MODELS: Final[tuple[type[BaseModel], ...]] = (KeyMade, KeyShown, KeysAnswer, AuditAnswer)
"""What is answered."""
FORMS: Final[tuple[type[BaseModel], ...]] = (KeyWanted, KeysHeld, Rotation)
"""What is sent."""

_WANTED: Final[Object] = {"name": "dashboard", "tenants": ["acme"], "role": "viewer"}
_ID: Final[Object] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The key's public id, as the list has it.",
    "schema": {"type": "string", "pattern": f"^{ID_PATTERN}$"},
}


def paths(
    answers: Mapping[type[BaseModel], Object],
    forms: Mapping[type[BaseModel], Object],
    errors: Object,
) -> Object:
    """The paths; `errors` are the responses that every one of them can have."""

    def answer(about: str, model: type[BaseModel]) -> Object:
        return {"description": about, "content": {"application/json": {"schema": answers[model]}}}

    def form(model: type[BaseModel], example: Object) -> Object:
        content = {"schema": forms[model], "examples": {"one": {"value": example}}}
        return {"required": True, "content": {"application/json": content}}

    errors = errors | {"403": _like(errors, "The key's role is too low for this.")}
    missing = {"404": _like(errors, "No such key among those that you manage.")}
    full = {"409": _like(errors, "No more keys are kept.")}
    return {
        "/v1/keys": {
            "get": {
                "operationId": "listKeys",
                "summary": "The keys that you manage: of your tenants, with roles up to yours",
                "responses": {
                    "200": answer("The keys, never their secrets.", KeysAnswer),
                    **errors,
                },
            },
            "post": {
                "operationId": "createKey",
                "summary": "Make a key; it is shown this once",
                "requestBody": form(KeyWanted, _WANTED),
                "responses": {"201": answer("The key.", KeyMade), **errors, **full},
            },
        },
        "/v1/keys/import": {
            "post": {
                "operationId": "importKeys",
                "summary": "Take in keys that clients hold already: all of them, or none",
                "requestBody": form(
                    KeysHeld, {"keys": [_WANTED | {"key": "lvk_0123456789abcdef"}]}
                ),
                "responses": {"201": answer("What they may do now.", KeysAnswer), **errors, **full},
            }
        },
        "/v1/keys/audit": {
            "get": {
                "operationId": "auditKeys",
                "summary": "The latest changes of the keys of your tenants",
                "responses": {"200": answer("Who did what.", AuditAnswer), **errors},
            }
        },
        "/v1/keys/{id}": {
            "delete": {
                "operationId": "revokeKey",
                "summary": "End a key with all its secrets, everywhere within a second",
                "parameters": [_ID],
                "responses": {"200": answer("The key as it ended.", KeyShown), **errors, **missing},
            }
        },
        "/v1/keys/{id}/rotate": {
            "post": {
                "operationId": "rotateKey",
                "summary": "A new secret, shown this once; the one before goes on for a while",
                "parameters": [_ID],
                "requestBody": form(Rotation, {"grace_s": 3600}),
                "responses": {"200": answer("The key.", KeyMade), **errors, **missing},
            }
        },
    }


def _like(errors: Object, about: str) -> Object:
    return {"description": about, "content": errors["401"]["content"]}
