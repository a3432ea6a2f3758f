"""A body to events of the contract, validated by the full model. Pure.

API and `odometer send` parse with this module. The meter parses with `schemas.formats.objects`
alone, because its app may not have pydantic.
"""

from __future__ import annotations

from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.formats import objects
from schemas.formats.body import Poll, never
from schemas.formats.context import Context

Event = objects.ParsedEvent[UsageEvent]
Parsed = objects.Parsed[UsageEvent]


def parse(
    body: object,
    format: str | None,  # noqa: A002
    context: Context,
    poll: Poll = never,
) -> Parsed:
    """The events of a decoded body, and the objects that were skipped or refused.

    `format` None: each object's format is detected. InvalidEvent if the whole body is wrong. `poll` is
    called between objects, and its errors are passed on.
    """
    return objects.parse_with(parse_usage, body, format, context, poll)


def partial_success(parsed: Parsed) -> tuple[int, str]:
    """OTLP's "partial success": the number of rejected spans, and why the first was rejected.

    A skipped span is accepted, and counts nothing.
    """
    if not parsed.refused:
        return 0, ""
    first = parsed.refused[0]
    return len(parsed.refused), f"span {first.index}: {first.error}"
