"""The bodies that the real libraries made (see make/), and what tests ask of them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from schemas.formats.body import load
from schemas.formats.cloudevents import BinaryCloudEvent
from schemas.formats.context import Context
from schemas.formats.otel import protobuf as otel_protobuf
from schemas.formats.parse import Parsed, parse

FOLDER = Path(__file__).parent / "fixtures"
NAMES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.glob("*/*.json"))
RECEIVED_MS = 1770544860000  # 2026-02-08T10:01:00Z
CONTEXT = Context(received_ms=RECEIVED_MS, id_seed="seed")


def fixture(name: str) -> Any:
    """The body, decoded as a request's would be. Protobuf is kept as base64 text, a CloudEvent in
    binary mode as its headers and data."""
    held = load((FOLDER / f"{name}.json").read_bytes())
    assert isinstance(held, dict)
    assert " " in held["made_by"]
    body = held["body"]
    if isinstance(body, str):
        return otel_protobuf.load_traces(base64.b64decode(body))
    if isinstance(body, dict) and "headers" in body:
        headers = [(name, value) for name, value in body["headers"]]
        return BinaryCloudEvent(headers, body["data"].encode())
    return body


def read(body: object, format: str | None = None, context: Context = CONTEXT) -> Parsed:  # noqa: A002
    return parse(body, format, context)


def only(parsed: Parsed) -> dict[str, Any]:
    """The one event of a body that holds nothing else."""
    assert not parsed.refused, parsed.refused[0].error
    assert not parsed.skipped
    (event,) = parsed.events
    return event.fields
