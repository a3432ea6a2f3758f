"""Parses the query string of OpenAI's usage API. An unknown parameter is an error: as a filter that does
nothing it would make the numbers wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from api.errors import BadParameter
from api.http.parameters import nearest
from api.openai.questions import (
    DIMENSIONS,
    FILTERS,
    LABELLED,
    UNKNOWN_VALUES,
    OrganizationPath,
)
from api.query.series_index import Filter
from schemas.catalog.views import Catalog
from schemas.limits import SECOND_MS

PAIR: Final = ", "
"""Between provider and model of a line item."""
BATCH: Final = "batch"
"""The service tier of batches."""
_COMMON: Final = ("start_time", "end_time", "bucket_width", "limit", "page", "group_by")
_SECONDS: Final = re.compile(r"\d{1,11}", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)
_MILLISECONDS_FROM: Final = 10**11


@dataclass(frozen=True)
class OrganizationQuery:
    """A parsed question. `end_ms` is None if the request has none. `line_items` select pairs of provider
    and model; None: all."""

    start_ms: int
    end_ms: int | None
    width: str
    limit: int
    page: str | None
    group_by: tuple[str, ...]
    filters: tuple[Filter, ...]
    line_items: frozenset[str] | None

    @property
    def identity(self) -> str:
        """Equal for all pages of one question."""
        filters = sorted((f.dimension, sorted(f.values), f.is_negated) for f in self.filters)
        items = None if self.line_items is None else sorted(self.line_items)
        return repr((self.start_ms, self.end_ms, self.width, self.group_by, filters, items))


def parse_query(
    items: Sequence[tuple[str, str]], path: OrganizationPath, catalog: Catalog
) -> OrganizationQuery:
    """Lists arrive as `models=a&models=b` or `models[]=a`. Raises BadParameter."""
    raw: dict[str, list[str]] = {}
    lists = {"group_by", *path.filters} - {"batch"}
    known = (*_COMMON, *path.filters)
    for sent, text in items:
        name = sent.removesuffix("[]")
        if name not in known or (name != sent and name not in lists):
            near = nearest(name, known)
            meant = f" Did you mean {near}?" if near else ""
            raise BadParameter(sent, f"Unknown parameter: '{sent}'.{meant}", known, near)
        raw.setdefault(name, []).append(text)
    for name, texts in raw.items():
        if len(texts) > 1 and name not in lists:
            raise BadParameter(name, f"'{name}' is given more than once.")
    one = {name: texts[0] for name, texts in raw.items() if name not in lists}
    if "start_time" not in one:
        raise BadParameter("start_time", "Missing required parameter: 'start_time'.")
    width = _choice("bucket_width", one.get("bucket_width", "1d"), path.widths)
    return OrganizationQuery(
        _seconds("start_time", one["start_time"]) * SECOND_MS,
        _seconds("end_time", one["end_time"]) * SECOND_MS if "end_time" in one else None,
        width,
        _limit(one.get("limit"), *path.limits_of(width), width),
        one.get("page"),
        _groups(raw.get("group_by", []), path, catalog),
        _filters(raw, one, path, catalog),
        frozenset(raw["line_items"]) if "line_items" in raw else None,
    )


def _seconds(name: str, text: str) -> int:
    if _SECONDS.fullmatch(text):
        return int(text)
    hint = ""
    if text.isascii() and text.isdigit() and int(text[:15]) >= _MILLISECONDS_FROM:
        hint = " These look like milliseconds."
    raise BadParameter(
        name, f"Invalid '{name}': {text[:100]!r} is not whole seconds since 1970.{hint}"
    )


def _choice(name: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        listed = ", ".join(f"'{one}'" for one in allowed)
        raise BadParameter(
            name, f"Invalid value: {text[:100]!r}. Supported values are: {listed}.", allowed
        )
    return text


def _limit(text: str | None, default: int, most: int, width: str) -> int:
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
        raise BadParameter(
            "limit",
            f"Invalid 'limit': {text[:100]!r} is not a whole number from 1 to {most}, the most buckets"
            f" of {width} in a page.",
        )
    return int(text)


def _groups(texts: Sequence[str], path: OrganizationPath, catalog: Catalog) -> tuple[str, ...]:
    for text in texts:
        _choice("group_by", text, path.groups)
        _check_known("group_by", text, path, catalog)
    return tuple(name for name in path.groups if name in texts)


def _filters(
    raw: Mapping[str, Sequence[str]],
    one: Mapping[str, str],
    path: OrganizationPath,
    catalog: Catalog,
) -> tuple[Filter, ...]:
    found = []
    for name in path.filters:
        if name in FILTERS and name in raw:
            _check_known(name, name.removesuffix("s"), path, catalog)
            found.append(Filter(FILTERS[name], frozenset(raw[name])))
        elif name in raw and name.removesuffix("s") in UNKNOWN_VALUES:
            _check_known(name, name.removesuffix("s"), path, catalog)
    if "batch" in one:
        is_batch = _choice("batch", one["batch"], ("true", "false")) == "true"
        found.append(Filter("service_tier", frozenset((BATCH,)), is_negated=not is_batch))
    return tuple(found)


def _check_known(parameter: str, value: str, path: OrganizationPath, catalog: Catalog) -> None:
    """Raises BadParameter if events or views do not have this value."""
    if not path.required:
        return  # always empty, however it is grouped
    if value in UNKNOWN_VALUES:
        raise BadParameter(parameter, f"'{value}' is not metered: events do not carry it.")
    for dimension in DIMENSIONS.get(value, ()):
        if dimension in LABELLED and dimension not in catalog.kept_dimensions:
            raise BadParameter(
                parameter,
                f"'{value}' needs a view with the dimension `{dimension}`, and there is none. Add the"
                f' dimension {dimension} = "labels.{dimension}" and a view with it to the catalog file'
                " (ODOMETER_CATALOG_FILE): see schemas/README.md.",
            )
