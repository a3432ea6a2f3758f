"""A body to events of the contract, validated by the full model. Pure.

API and `odometer send` parse with this module. The meter parses with `schemas.formats.objects`
alone, because its app may not have pydantic.
"""

from __future__ import annotations

from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.formats import objects, parsed
from schemas.formats.body import Poll, never
from schemas.formats.context import Context
from schemas.formats.joining import Joiner

Event = parsed.ParsedEvent[UsageEvent]
Parsed = parsed.Parsed[UsageEvent]
Reports = parsed.LastReports[UsageEvent]


def parse(
    body: object,
    format: str | None,  # noqa: A002
    context: Context,
    poll: Poll = never,
    joiner: Joiner | None = None,
) -> Parsed:
    """The events of a decoded body, and the objects that were skipped or refused.

    `format` None: each object's format is detected. InvalidEvent if the whole body is wrong. `poll` is
    called between objects, and its errors are passed on. `joiner`: what came before the body, where a
    stream goes on over several.
    """
    return objects.parse_with(parse_usage, body, format, context, poll, joiner)


def partial_success(parsed: Parsed) -> tuple[int, str]:
    """OTLP's "partial success": the number of rejected spans, and why the first was rejected.

    A skipped span is accepted, and counts nothing.
    """
    if not parsed.refused:
        return 0, ""
    first = parsed.refused[0]
    return len(parsed.refused), f"span {first.index}: {first.error}"
