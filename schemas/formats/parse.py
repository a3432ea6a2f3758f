"""A body to events of the contract, validated by the full model. Pure.

API and `odometer send` parse with this module. The meter parses with `schemas.formats.objects`
alone, because its app may not have pydantic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.formats import objects, parsed
from schemas.formats.context import Context
from schemas.formats.joining import Joiner
from schemas.formats.parsed import InvalidObject, SkippedObject
from schemas.formats.structure import Poll, never

Event = parsed.ParsedEvent[UsageEvent]
Parsed = parsed.Parsed[UsageEvent]
Reports = parsed.LastReports[UsageEvent]
REASONS_MAX: Final = 4
"""In one message: an exporter writes it into its log."""


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


def partial_success(
    refused: Sequence[InvalidObject], skipped: Sequence[SkippedObject], part: str = "span"
) -> tuple[int, str]:
    """OTLP's "partial success": the number of rejected parts, and a message.

    The message says why the first was rejected, and why others with usage are accepted but count
    nothing.
    """
    said = [f"{part} {refused[0].index}: {refused[0].error}"] if refused else []
    lost = Counter(one.reason for one in skipped if one.has_usage)
    said += [
        f"{number} {part}{'s' * (number > 1)} with usage not counted: {reason}"
        for reason, number in lost.most_common(REASONS_MAX)
    ]
    return len(refused), "; ".join(said)
