"""Turns rows of exact sums into the bodies of Open WebUI's analytics: order, limits, gaps.

A row without a model counts in the summary and for its user, but is in no list of models. A row without
a user adds to no number of users. Equal entries are ordered by their ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from operator import add
from typing import Any, Final

import numpy as np

from api.openwebui.parameters import DailyParameters
from api.openwebui.series import labels_of
from api.query.plan import Sum, Term
from api.query.sums import Row
from api.query.time_buckets import local_labels, wall_ms
from schemas.catalog.measures import (
    CACHE_READ_TOKENS,
    CHATS,
    COST_EVENTS,
    COST_NANO_USD,
    EVENTS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    RATINGS_DOWN,
    RATINGS_UP,
)
from schemas.catalog.sketches import Distinct
from schemas.limits import DAY_MS, NANO_PER_USD, SECOND_MS
from schemas.store.chats import SHOWN_CHARS_MAX, Chat
from schemas.store.directory import Person
from schemas.store.layout import Int64s
from schemas.store.recent_calls import Recent

Object = dict[str, Any]
Numbers = tuple[int, ...]
"""Values in the order of SPENT."""

ORDERS_OF_WORDS: Final = frozenset(("title", "user_name"))
"""Orders of chats for which all chats must be read, not only one page."""
CURRENCY: Final = "USD"
TAGS_SHOWN: Final = 10
"""As at its server."""
TERMS: Final = (Term(EVENTS), Term(INPUT_TOKENS), Term(OUTPUT_TOKENS))
SPENT: Final = (*TERMS, Term(CACHE_READ_TOKENS), Term(COST_NANO_USD), Term(COST_EVENTS))
BY_MODEL: Final = (*SPENT, Term(CHATS))
WHOLE: Final = (Term(EVENTS), Term(CHATS))
RATINGS: Final = (Term(RATINGS_UP), Term(RATINGS_DOWN))


def summary_of(whole: Sequence[Row], models: Iterable[Row], users: Iterable[Row]) -> Object:
    """As `schemas.responses.openwebui.Summary`, of one row and of rows by model and by user."""
    (row,) = whole
    return {
        "total_messages": row.values[0],
        "total_chats": size_of(row.sketches[0]),
        "total_models": sum(1 for row in models if row.group[0]),
        "total_users": sum(1 for row in users if row.group[0]),
    }


def models_of(models: Iterable[Row], users: Iterable[Row]) -> Object:
    """As `schemas.responses.openwebui.Models`, of rows by model, and by model and user."""
    unique = Counter(row.group[0] for row in users if row.group[1])
    found = [
        {
            "model_id": row.group[0],
            "count": row.values[0],
            "unique_users": unique[row.group[0]],
            "unique_chats": size_of(row.sketches[0]),
        }
        for row in models
        if row.group[0]
    ]
    return {"models": sorted(found, key=lambda model: (-model["count"], model["model_id"]))}


def size_of(chats: Sum) -> int:
    """The size of a set of chats; 0 is an empty set."""
    return len(chats) if isinstance(chats, Distinct) else 0


def history_of(rows: Iterable[Row], first_ms: int | None, today_ms: int) -> list[Object]:
    """As `schemas.responses.openwebui.Rated`, of ratings by day: every day from `first_ms` to today."""
    if first_ms is None:
        return []
    rated = {row.at_ms: row.values for row in rows}
    days = np.arange(first_ms, today_ms + 1, DAY_MS, dtype=np.int64)
    counts = (rated.get(at_ms, (0, 0)) for at_ms in days.tolist())
    dates = local_labels(days, UTC, has_clock=False)
    return [
        {"date": date, "won": won, "lost": lost}
        for date, (won, lost) in zip(dates, counts, strict=True)
    ]


def top_users(rows: Iterable[Row], metric: str, limit: int) -> list[Row]:
    """Of rows by user: the first `limit`, by messages or by tokens and then messages."""

    def place(row: Row) -> tuple[int, int, str]:
        count, input_tokens, output_tokens = row.values[:3]
        first = input_tokens + output_tokens if metric == "tokens" else 0
        return -first, -count, row.group[0]

    return sorted((row for row in rows if row.group[0]), key=place)[:limit]


def users_of(
    rows: Iterable[Row], people: Mapping[str, Person], models: Iterable[Row] | None = None
) -> Object:
    """As `schemas.responses.openwebui.Users`, in the order of the rows. `models`: rows by user and model;
    None: the users' models are not in the answer."""
    users = [_user(row, people.get(row.group[0])) for row in rows]
    if models is None:
        return {"users": users}
    found: dict[str, list[Object]] = {}
    for row in models:
        user, model = row.group
        if model:
            found.setdefault(user, []).append(_model_of_user(model, row))
    for own in found.values():
        own.sort(key=lambda one: (-(one["cost"] or 0), -one["count"], one["model_id"]))
    return {"users": [{**user, "models": found.get(user["user_id"], [])} for user in users]}


def without_cost(rows: Iterable[Row]) -> int:
    """How many messages of these rows of SPENT, which are those that an answer lists, have no cost."""
    return sum(row.values[0] - row.values[5] for row in rows)


def tokens_of(rows: Iterable[Row]) -> Object:
    """As `schemas.responses.openwebui.Tokens`, of rows by model."""
    listed = [row for row in rows if row.group[0]]
    models = [
        {
            "model_id": row.group[0],
            **_tokens(row),
            "cached_tokens": row.values[3],
            "message_count": row.values[0],
            "cost": _cost(row),
        }
        for row in listed
    ]
    models.sort(key=lambda model: (-model["total_tokens"], model["model_id"]))
    names = ("input_tokens", "output_tokens", "cached_tokens", "total_tokens")
    totals = {name: sum(model[name] for model in models) for name in names}
    priced = [row for row in listed if row.values[5]]
    return {
        "models": models,
        "total_input_tokens": totals["input_tokens"],
        "total_output_tokens": totals["output_tokens"],
        "total_cached_tokens": totals["cached_tokens"],
        "total_tokens": totals["total_tokens"],
        "total_cost": _usd(sum(row.values[4] for row in priced)) if priced else None,
        "currency": CURRENCY if priced else None,
        "unpriced_models": len(listed) - len(priced),
    }


def series_of(rows: Sequence[Row], axis: Int64s, asked: DailyParameters) -> list[Object]:
    """As `schemas.responses.openwebui.Bucket`, of rows by model and time. `axis`: buckets that are listed
    even if they are empty. Hours that a clock repeats share one label and one entry.

    A label is the date, with the time of day if the buckets are shorter than days.
    """
    walls_ms = wall_ms(np.array([row.at_ms for row in rows], np.int64), asked.zone)
    buckets: dict[str, dict[str, Numbers]] = {label: {} for label in labels_of(axis, asked)}
    for row, label in zip(rows, labels_of(walls_ms, asked), strict=True):
        if row.group[0]:
            models = buckets.setdefault(label, {})
            known = models.get(row.group[0])
            models[row.group[0]] = row.values if known is None else _sum(known, row.values)
    return [_bucket(date, models, asked.metric) for date, models in sorted(buckets.items())]


def _bucket(date: str, models: Mapping[str, Numbers], metric: str) -> Object:
    ordered = sorted(models.items())
    tokens = {model: values[1] + values[2] for model, values in ordered}
    return {
        "date": date,
        "models": tokens if metric == "tokens" else {model: values[0] for model, values in ordered},
        "tokens": tokens,
        "costs": {model: _usd(values[4]) for model, values in ordered if values[5]},
    }


def _sum(one: Numbers, other: Numbers) -> Numbers:
    return tuple(map(add, one, other))


# -- chats and messages ----------------------------------------------------------------------------


def newest_first(last_ms: Mapping[str, int], *, is_reversed: bool) -> list[str]:
    """Chats by the second of their newest event, then by id."""
    ids = sorted(last_ms)
    ids.sort(key=lambda chat_id: last_ms[chat_id] // SECOND_MS, reverse=not is_reversed)
    return ids


def first_message(chat: Chat, titles: Mapping[str, str]) -> str:
    """The preview of a chat, else its title from the topic of titles, else its title from events. At
    most SHOWN_CHARS_MAX characters of it."""
    return (chat.preview or titles.get(chat.id) or chat.title)[:SHOWN_CHARS_MAX]


def by_words(
    chats: Iterable[Chat],
    order_by: str,
    direction: str,
    titles: Mapping[str, str],
    people: Mapping[str, Person],
) -> list[Chat]:
    """Order by title or by the user's name, then by id. Chats without one come first."""

    def word(chat: Chat) -> str:
        if order_by == "title":
            return titles.get(chat.id) or chat.title
        return _name(chat.user, people) or ""

    ordered = sorted(chats, key=lambda chat: chat.id)
    ordered.sort(key=word, reverse=direction != "asc")
    return ordered


def chat_of(chat: Chat, titles: Mapping[str, str], people: Mapping[str, Person]) -> Object:
    """As `schemas.responses.openwebui.ModelChat`."""
    return {
        "chat_id": chat.id,
        "user_id": chat.user or None,
        "user_name": _name(chat.user, people),
        "first_message": first_message(chat, titles) or None,
        "updated_at": chat.last_ms // SECOND_MS,
    }


def tags_of(chats: Iterable[Chat]) -> list[Object]:
    """The ten tags with most chats, as `schemas.responses.openwebui.Tag`."""
    counts = Counter(tag for chat in chats for tag in set(chat.tags))
    top = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:TAGS_SHOWN]
    return [{"tag": tag, "count": count} for tag, count in top]


def message_of(call: Recent) -> Object:
    """As `schemas.responses.openwebui.Message`; null where a value is unknown."""
    known = call.input_tokens is not None or call.output_tokens is not None
    input_tokens, output_tokens = call.input_tokens or 0, call.output_tokens or 0
    usage = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }
    return {
        "id": call.id,
        "chat_id": call.chat_id or None,
        "user_id": call.user or None,
        "role": "assistant",
        "parent_id": None,
        "content": None,
        "output": None,
        "model_id": call.model or None,
        "files": None,
        "sources": None,
        "embeds": None,
        "meta": None,
        "done": True,
        "status_history": None,
        "error": call.error or None,
        "usage": usage if known else None,
        "created_at": call.at_ms // SECOND_MS,
        "updated_at": call.at_ms // SECOND_MS,
    }


def _name(user: str, people: Mapping[str, Person]) -> str | None:
    person = people.get(user)
    return person.name if person else None


def _user(row: Row, person: Person | None) -> Object:
    return {
        "user_id": row.group[0],
        "name": person.name if person else None,
        "email": person.email if person else None,
        "count": row.values[0],
        **_tokens(row),
        "cost": _cost(row),
    }


def _model_of_user(model: str, row: Row) -> Object:
    return {
        "model_id": model,
        "count": row.values[0],
        "unique_chats": size_of(row.sketches[0]),
        **_tokens(row),
        "cached_tokens": row.values[3],
        "cost": _cost(row),
    }


def _cost(row: Row) -> float | None:
    """The cost in USD of the messages that have one; None if none has."""
    return _usd(row.values[4]) if row.values[5] else None


def _usd(nano_usd: int) -> float:
    return nano_usd / NANO_PER_USD


def _tokens(row: Row) -> Object:
    _, input_tokens, output_tokens = row.values[:3]
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }
