"""The fields of a record's event: the record is plain JSON or a CloudEvents 1.0 event. Pure.

This is the full reader, which explains each rejection. The worker decodes most records with a
faster decoder (streams/core/decode.py), which accepts nothing else. A test compares the two.
Source: schemas/contracts/producers.md, "The neutral event on the wire"; CloudEvents 1.0.2, Kafka
binding.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from schemas.errors import InvalidEvent, Reason
from schemas.limits import EVENT_BYTES_MAX
from schemas.units import ms_to_instant

Headers = Sequence[tuple[str, bytes]]

ENVELOPE_FIELDS: Final = frozenset({"specversion"})
"""A plain record with one of these fields is read as a CloudEvent. So the writer of a record must not
pass on an unknown field of such a name: it would change how the worker reads all other fields."""

_CE_PREFIX: Final = "ce_"


def read_content(value: bytes | None, headers: Headers, append_ms: int) -> dict[str, Any]:
    """The fields of one record, not validated yet, without their CloudEvent if there is one.

    A CloudEvent that has no time gets `append_ms`. InvalidEvent if the record has no fields.
    """
    if not value:
        raise InvalidEvent(Reason.EMPTY, "the record has no value")
    if len(value) > EVENT_BYTES_MAX:
        raise InvalidEvent(
            Reason.TOO_LARGE, f"the record has {len(value)} bytes, the limit is {EVENT_BYTES_MAX}"
        )
    attributes = _binary_attributes(headers)
    content = load_object(value)
    is_envelope = not ENVELOPE_FIELDS.isdisjoint(content) or _is_structured(headers)
    if attributes is None and is_envelope:
        attributes = content
        content = _structured_data(content)
    if attributes is not None:
        content = _with_attributes(content, attributes, append_ms)
    return content


def load_object(value: bytes) -> dict[str, Any]:
    """An object from UTF-8 JSON, with its fractions as Decimal; InvalidEvent for anything else."""
    try:
        content = json.loads(value.decode(), parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise InvalidEvent(Reason.NOT_JSON, f"the value is not UTF-8 JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidEvent(Reason.NOT_JSON, "the value is JSON, but not an object")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _binary_attributes(headers: Headers) -> dict[str, Any] | None:
    """The attributes in the `ce_` headers, or None if there are none."""
    found: dict[str, Any] = {}
    for name, value in headers:
        if name.startswith(_CE_PREFIX):
            try:
                # Libraries since 2.x percent-encode here as they do over HTTP.
                found[name.removeprefix(_CE_PREFIX)] = unquote(value.decode(), errors="strict")
            except UnicodeDecodeError as error:
                raise InvalidEvent(
                    Reason.UNSUPPORTED_CLOUDEVENT, "the header is not UTF-8", name
                ) from error
    return found or None


def _is_structured(headers: Headers) -> bool:
    return any(
        name == "content-type" and value.startswith(b"application/cloudevents+json")
        for name, value in headers
    )


def _structured_data(content: dict[str, Any]) -> dict[str, Any]:
    if "data_base64" in content:
        try:
            return load_object(base64.b64decode(content["data_base64"], validate=True))
        except (TypeError, ValueError) as error:
            raise InvalidEvent(
                Reason.UNSUPPORTED_CLOUDEVENT, f"is not base64: {error}", "data_base64"
            ) from error
    data = content.get("data")
    if not isinstance(data, dict):
        raise InvalidEvent(
            Reason.UNSUPPORTED_CLOUDEVENT, "must be a JSON object: the neutral event", "data"
        )
    return data


def _with_attributes(
    content: dict[str, Any], attributes: dict[str, Any], append_ms: int
) -> dict[str, Any]:
    """The data, with id, source, time and subject of the CloudEvent in their fields.

    If an attribute is missing or empty, the data keeps its own field.
    """
    version = attributes.get("specversion")
    if version != "1.0":
        raise InvalidEvent(
            Reason.UNSUPPORTED_CLOUDEVENT, f"is {version!r}, supported is 1.0", "specversion"
        )
    given = {name: attributes[name] for name in ("id", "source", "time") if attributes.get(name)}
    merged = {**content, **given}
    if not merged.get("time"):
        merged["time"] = ms_to_instant(append_ms).isoformat()
    if not merged.get("agent_id") and attributes.get("subject"):
        merged["agent_id"] = attributes["subject"]
    return merged
