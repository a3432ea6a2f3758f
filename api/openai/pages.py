"""The buckets of a range, and the pages that they are answered in.

A cursor says where its page begins and until when the question goes, so that a default `end_time` does
not move from page to page. It is bound to the question by a digest. It grants nothing: the next request
has a key of its own.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xxhash import xxh3_64_intdigest

from api.errors import BadParameter
from api.openai.parameters import OrganizationQuery
from api.openai.questions import WIDTHS
from api.query.plan import Plan, covered_range, finest_kept
from schemas.limits import DAY_MS, SECOND_MS
from schemas.tiers import DAY, Tier, ceil_to, floor_to, kept_from
from schemas.units import iso

PREFIX: Final = "page_"
_CURSOR: Final = struct.Struct(">QQQ")
"""Start of the next bucket and end of the question in ms, and the digest of the question."""


@dataclass(frozen=True)
class BucketPage:
    """The buckets of one page as [start, end), in ms; and the cursor of the next page."""

    buckets: tuple[tuple[int, int], ...]
    next_page: str | None


def page_of(query: OrganizationQuery, owner: str, tiers: Sequence[Tier], now_ms: int) -> BucketPage:
    """`owner`: tenant and path. `tiers`: those of the view that answers.

    Raises BadParameter if the range is empty, has expired or has no whole bucket.
    """
    digest = xxh3_64_intdigest(repr((owner, query.identity)).encode())
    first_ms, end_ms = query.start_ms, query.end_ms if query.end_ms is not None else now_ms
    width_ms = WIDTHS[query.width].length_ms
    if query.page is not None:
        first_ms, end_ms = _opened(query.page, digest)
    if query.start_ms >= end_ms:
        name = "start_time" if query.end_ms is None else "end_time"
        raise BadParameter(
            name,
            f"'end_time' ({_shown(end_ms)}) must be after 'start_time' ({_shown(query.start_ms)}).",
        )
    _check_kept(query, tiers, now_ms)
    start_ms, covered_ms = covered_range(query.start_ms, end_ms, now_ms, tiers)
    if start_ms >= covered_ms:
        raise _collapsed(query.start_ms, end_ms, tiers, now_ms)
    grid_ms = finest_kept(covered_ms, now_ms, tiers).bucket_ms
    end_ms = min(ceil_to(end_ms, grid_ms), ceil_to(covered_ms, width_ms))
    if query.page is not None and (first_ms % width_ms or not start_ms < first_ms < end_ms):
        raise _foreign()
    begin_ms = floor_to(max(start_ms, first_ms), width_ms)
    starts = range(begin_ms, end_ms, width_ms)
    shown = starts[: query.limit]
    buckets = tuple((max(at, start_ms), min(at + width_ms, end_ms)) for at in shown)
    if len(starts) <= query.limit:
        return BucketPage(buckets, None)
    cursor = _CURSOR.pack(starts[query.limit], end_ms, digest)
    return BucketPage(buckets, PREFIX + base64.urlsafe_b64encode(cursor).decode())


def _opened(page: str, digest: int) -> tuple[int, int]:
    try:
        sent = base64.b64decode(page.removeprefix(PREFIX), altchars=b"-_", validate=True)
        first_ms, end_ms, of = _CURSOR.unpack(sent)
    except (binascii.Error, ValueError, struct.error):
        raise _foreign() from None
    if of != digest or not page.startswith(PREFIX):
        raise _foreign()
    return first_ms, end_ms


def _foreign() -> BadParameter:
    return BadParameter(
        "page",
        "Invalid 'page': it is not the 'next_page' of this question. Send all parameters as before.",
    )


def _check_kept(query: OrganizationQuery, tiers: Sequence[Tier], now_ms: int) -> None:
    """Raises BadParameter if the buckets of this width have expired where the range begins, or if the
    view never has any."""
    fine = [tier for tier in tiers if tier.bucket_ms <= WIDTHS[query.width].length_ms]
    if not fine:
        raise BadParameter(
            "bucket_width",
            f"Invalid 'bucket_width': with these groups and filters the shortest buckets are of"
            f" {tiers[0].name}. Use '1h' or '1d'.",
        )
    place = tiers.index(fine[-1])
    if place + 1 < len(tiers):
        oldest_ms = kept_from(fine[-1], tiers[place + 1], now_ms)
    else:
        oldest_ms = ceil_to(now_ms - DAY.kept_ms, DAY_MS)
    if query.start_ms < oldest_ms:
        raise BadParameter(
            "start_time",
            f"Invalid 'start_time': {_shown(query.start_ms)} is too old for a bucket_width of"
            f" {query.width}. The oldest range begins at start_time={oldest_ms // SECOND_MS}"
            f" ({iso(oldest_ms)}){'' if query.width == '1d' else '; longer buckets go further back'}.",
        )


def check_read(planned: Plan, covered: Plan) -> None:
    """Raises BadParameter if days of UTC are all that is stored of shorter buckets, or of a range without
    a whole day: counters that a rebuild copied may have no hours (`Meta.hours_from_ms`)."""
    if covered.counts_from_ms:
        raise BadParameter(
            "start_time",
            f"Invalid 'start_time': the view {covered.view.name} counts since"
            f" {iso(covered.counts_from_ms)}, when it was added. The oldest range begins at start_time="
            f"{ceil_to(covered.counts_from_ms, SECOND_MS) // SECOND_MS}.",
        )
    coarse_ms = covered.split_days_end_ms
    if covered is not planned and (coarse_ms or covered.start_ms < planned.start_ms):
        raise BadParameter(
            "start_time",
            f"Invalid 'start_time': before {iso(coarse_ms or covered.end_ms)} only days of UTC are"
            " stored, as these counters were copied by a rebuild, without hours. Use a later start_time,"
            " or a bucket_width of 1d.",
        )


def _collapsed(start_ms: int, end_ms: int, tiers: Sequence[Tier], now_ms: int) -> BadParameter:
    grid_ms = finest_kept(start_ms, now_ms, tiers).bucket_ms
    near = floor_to(start_ms, grid_ms) // SECOND_MS, ceil_to(end_ms, grid_ms) // SECOND_MS
    return BadParameter(
        "start_time",
        f"Invalid range: from {_shown(start_ms)} to {_shown(end_ms)} there is no whole stored bucket; they"
        f" have {grid_ms // SECOND_MS} s there. The nearest range is start_time={near[0]}, end_time={near[1]}.",
    )


def _shown(at_ms: int) -> str:
    return str(at_ms // SECOND_MS)
