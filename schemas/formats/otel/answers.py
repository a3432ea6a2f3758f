"""The reports of one answer in one request are one event. Pure.

A framework's span and the span of the client below it both report the answer of a model, often under
different scopes. They have the same identity (`spans.identity_of`), or one is below the other with the
same numbers. Of these reports the one that tells most counts, the last if they tell as much; it gets
the texts (user, agent, cost) that only another one has. A span above several calls whose numbers are
their sums is a wrapper, whatever it says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from schemas.errors import InvalidEvent
from schemas.formats.body import bare
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.formats.otel.encoding import JsonPart, OtelSpan, span_of_json
from schemas.formats.otel.spans import ModelCall, read
from schemas.formats.structure import Poll, never

Reading = list[ReaderResult] | InvalidEvent
SAME: Final = "another span of this request reports the same answer"
ABOVE_MAX: Final = 64
"""Spans between a call and the wrapper above it that are looked at. Agents nest some ten deep."""
_SHARED: Final = (
    "agent_id",
    "call_id",
    "chat_id",
    "user_id",
    "user_email",
    "user_name",
    "cost_usd",
    "service_tier",
    "first_output_ms",
    "error",
)


def read_spans(spans: Sequence[OtelSpan | JsonPart], poll: Poll = never) -> list[Reading]:
    """What each span becomes, in order: an event, nothing with a reason, or an error."""
    found: list[ModelCall | Reading] = []
    parents: dict[tuple[str, str], str] = {}
    for span in spans:
        poll()
        try:
            whole = span if isinstance(span, OtelSpan) else span_of_json(span)
            parents[whole.trace_id, whole.span_id] = whole.parent_id
            made = read(whole)
            found.append([made] if isinstance(made, Uncounted) else made)
        except InvalidEvent as error:
            found.append(bare(error))
    calls = {at: one for at, one in enumerate(found) if isinstance(one, ModelCall)}
    drafts = _one_each(calls, parents)
    return [
        ([drafts[at] if at in drafts else Uncounted(SAME)] if isinstance(one, ModelCall) else one)
        for at, one in enumerate(found)
    ]


def _one_each(calls: dict[int, ModelCall], parents: dict[tuple[str, str], str]) -> dict[int, Draft]:
    """The calls that count, by their place."""
    groups = _Groups(calls)
    by_id: dict[tuple[str | None, str | None], int] = {}
    for at, call in calls.items():
        if call.draft.id is not None:
            groups.join(by_id.setdefault((call.span.service, call.draft.id), at), at)
    for above, below in _nested(calls, parents).items():
        parts = {groups.head[at] for at in below} - {groups.head[above]}
        if parts and _repeats(calls[above], [calls[at] for at in below]):
            if len(parts) == 1:
                groups.join(above, parts.pop())
            else:
                groups.drop(above)
    return dict(_best(calls, group) for group in groups.members.values())


class _Groups:
    """Places of calls by answer: `head` of each place, `members` of each head. A join moves the
    smaller group, so that any number of joins takes little more than one step a place."""

    def __init__(self, places: Iterable[int]) -> None:
        self.head = {at: at for at in places}
        self.members = {at: [at] for at in self.head}

    def join(self, one: int, other: int) -> None:
        large, small = self.head[one], self.head[other]
        if large == small or large not in self.members or small not in self.members:
            return
        if len(self.members[large]) < len(self.members[small]):
            large, small = small, large
        moved = self.members.pop(small)
        self.members[large] += moved
        self.head |= dict.fromkeys(moved, large)

    def drop(self, one: int) -> None:
        """The group counts nothing."""
        self.members.pop(self.head[one], None)


def _nested(
    calls: dict[int, ModelCall], parents: dict[tuple[str, str], str]
) -> dict[int, list[int]]:
    """Calls with the calls next below them."""
    places = {(one.span.trace_id, one.span.span_id): at for at, one in calls.items()}
    found: dict[int, list[int]] = defaultdict(list)
    for at, call in calls.items():
        trace, above = call.span.trace_id, call.span.parent_id
        for _ in range(ABOVE_MAX):
            if not above or (trace, above) in places:
                break
            above = parents.get((trace, above), "")
        place = places.get((trace, above)) if trace and above else None
        if place is not None and place != at:
            found[place].append(at)
    return found


def _repeats(above: ModelCall, below: Iterable[ModelCall]) -> bool:
    """Whether a span reports the answers below it once more."""
    below = list(below)
    ids = {one.response_id for one in below if one.response_id}
    if len(below) == 1 and above.response_id and ids:
        return above.response_id in ids
    usage = above.usage
    if usage.input is None and usage.output is None:
        return above.draft.fields.get("error") is None or len(below) == 1
    return (usage.output or 0) == sum(one.usage.output or 0 for one in below) and (
        (usage.input or 0) == sum(one.usage.input or 0 for one in below)
        or above.response_id in ids
        or _is_partial(above, below)
    )


def _is_partial(above: ModelCall, below: Iterable[ModelCall]) -> bool:
    """Whether the inputs differ by the cache alone, which one of the two libraries leaves out."""
    parts = sum((one.usage.cache_read or 0) + (one.usage.cache_write or 0) for one in below)
    own = (above.usage.cache_read or 0) + (above.usage.cache_write or 0)
    gap = sum(one.usage.input or 0 for one in below) - (above.usage.input or 0)
    return bool(gap) and gap in (parts, -own, parts - own)


def _best(calls: dict[int, ModelCall], group: list[int]) -> tuple[int, Draft]:
    """The place and the draft of the report that tells most, completed from the others."""
    best = max(group, key=lambda at: (_told(calls[at]), at))
    draft = calls[best].draft
    fields = dict(draft.fields)
    identity = draft.id
    for at in group:
        other = calls[at]
        for name in _SHARED:
            if fields.get(name) is None and other.draft.fields.get(name) is not None:
                fields[name] = other.draft.fields[name]
        if calls[best].response_id is None and other.response_id is not None:
            identity = other.draft.id
    return best, replace(draft, fields=fields, id=identity)


def _told(call: ModelCall) -> int:
    """How many counts a report has that are not 0."""
    usage = call.usage
    told = (usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning)
    return sum(bool(one) for one in told)
