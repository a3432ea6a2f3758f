"""The latest answers, each with the sums that it was made from. One cache serves all dialects.

An answer is sent again while the store returns the very same sums for its question. The store is
asked at every request, so the cache needs no clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from api.http.prepared_response import PreparedResponse
from schemas.store.layout import Meta

ANSWERS_MAX: Final = 256
"""The pages that the dashboards of some tens of people show."""
ANSWER_BYTES_MAX: Final = 256 * 1024
"""A larger answer is not cached. 256 of the largest are 64 MB."""


@dataclass(frozen=True, eq=False)
class CachedAnswer:
    """An answer at the state `meta`. `content` is all of it that does not change with the state.

    `tag` is the ETag, and `unchanged` the 304 for clients that have it; "" and None for a dialect
    without conditional requests.
    """

    meta: Meta
    content: bytes
    response: PreparedResponse
    tag: str = ""
    unchanged: PreparedResponse | None = None


class AnswerCache:
    """At most ANSWERS_MAX answers. Evicts the least recently used."""

    def __init__(self) -> None:
        self._answers: LRUCache[Hashable, tuple[Hashable, CachedAnswer]] = LRUCache(ANSWERS_MAX)

    def get(self, question: Hashable, sums: Hashable) -> CachedAnswer | None:
        """The cached answer, if it was made from these sums."""
        cached = self._answers.get(question)
        return cached[1] if cached is not None and cached[0] == sums else None

    def put(
        self, question: Hashable, sums: Hashable, answer: CachedAnswer, size_bytes: int
    ) -> None:
        if size_bytes <= ANSWER_BYTES_MAX:
            self._answers[question] = sums, answer
