"""Checks that every endpoint makes on the parameters of a request."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from api.errors import BadParameter

RawParameters = Mapping[str, Sequence[str]]
"""The parameters of a request by name, each with the values that were sent for it."""


def check_names(raw: RawParameters, known: Sequence[str]) -> None:
    """Raise BadParameter if a parameter has a name that is not in `known`."""
    for name in raw:
        if name not in known:
            near = nearest(name, known)
            meant = f" Did you mean {near}?" if near else ""
            raise BadParameter(name, f"There is no parameter `{name}`.{meant}", known, near)


def single(raw: RawParameters, name: str) -> str | None:
    """The value of a parameter, or None. Raises BadParameter if it is given more than once."""
    values = raw.get(name, ())
    if len(values) > 1:
        raise BadParameter(name, f"Parameter `{name}` is given more than once.")
    return values[0] if values else None


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that is most similar, or "" if none is similar enough."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), "")
