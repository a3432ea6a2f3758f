"""Rows of exact sums to the bodies of Open WebUI's analytics: order, limits, gaps. Pure.

A row without a model is counted in the summary and with its user, and stands in no list of models;
a row without a user adds to no number of users. Equals stand in the order of their ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

from api.axis import Step
from api.query import Row, Term
from schemas.directory import Person
from schemas.limits import DAY_MS
from schemas.measures import EVENTS, INPUT_TOKENS, OUTPUT_TOKENS
from schemas.units import ms_to_instant

Object = dict[str, Any]

TERMS: Final = (Term(EVENTS), Term(INPUT_TOKENS), Term(OUTPUT_TOKENS))


def top_users(rows: Iterable[Row], metric: str, limit: int) -> list[Row]:
    """Of rows by user: the first `limit`, by messages or by tokens and then messages."""

    def place(row: Row) -> tuple[int, int, str]:
        count, input_tokens, output_tokens = row.values
        first = input_tokens + output_tokens if metric == "tokens" else 0
        return -first, -count, row.group[0]

    return sorted((row for row in rows if row.group[0]), key=place)[:limit]


def users_of(rows: Iterable[Row], people: Mapping[str, Person]) -> Object:
    """As `schemas.openwebui.Users`, in the order of the rows."""
    return {"users": [_user(row, people.get(row.group[0])) for row in rows]}


def tokens_of(rows: Iterable[Row]) -> Object:
    """As `schemas.openwebui.Tokens`, of rows by model."""
    models = [
        {"model_id": row.group[0], **_tokens(row), "message_count": row.values[0]}
        for row in rows
        if row.group[0]
    ]
    models.sort(key=lambda model: (-model["total_tokens"], model["model_id"]))
    names = ("input_tokens", "output_tokens", "total_tokens")
    totals = {f"total_{name}": sum(model[name] for model in models) for name in names}
    return {
        "models": models,
        "total_input_tokens": totals["total_input_tokens"],
        "total_output_tokens": totals["total_output_tokens"],
        "total_tokens": totals["total_total_tokens"],
    }


def series_of(
    rows: Sequence[Row], starts_ms: Sequence[int], step: Step, zone: tzinfo, metric: str
) -> list[Object]:
    """As `schemas.openwebui.Bucket`, of rows by model and time. `starts_ms`: buckets that stand
    there even where nothing happened. Hours that a clock repeats have one label, so one entry."""
    buckets: dict[str, dict[str, int]] = {label(at, step, zone): {} for at in starts_ms}
    for row in rows:
        model = row.group[0]
        if model:
            count, input_tokens, output_tokens = row.values
            amount = input_tokens + output_tokens if metric == "tokens" else count
            models = buckets.setdefault(label(row.at_ms, step, zone), {})
            models[model] = models.get(model, 0) + amount
    return [
        {"date": date, "models": dict(sorted(models.items()))}
        for date, models in sorted(buckets.items())
    ]


def label(at_ms: int, step: Step, zone: tzinfo) -> str:
    """The date, with the time of day where buckets are shorter than days."""
    form = "%Y-%m-%d" if step.length_ms >= DAY_MS else "%Y-%m-%d %H:%M"
    return ms_to_instant(at_ms).astimezone(zone).strftime(form)


def members_of(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by their first group, those where it is not reported left out."""
    members: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.group[0]:
            members[row.group[0]].append(row)
    return members


def _user(row: Row, person: Person | None) -> Object:
    return {
        "user_id": row.group[0],
        "name": person.name if person else None,
        "email": person.email if person else None,
        "count": row.values[0],
        **_tokens(row),
    }


def _tokens(row: Row) -> Object:
    _, input_tokens, output_tokens = row.values
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }
