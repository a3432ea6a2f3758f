"""The measures that a question may ask for: the stored ones, and those derived from them. Pure.

A derived measure is one line of DERIVED: a quotient of two sums of stored measures, or a sum in
another unit. It is offered if the catalog has all measures that it needs. A quotient is computed once,
from exact sums, and is null if nothing was measured; a sum is 0 then. A cost is null too where there
are requests and none has a cost: it is unknown, not 0. Every histogram offers its
PERCENTILES, and every set of digests its number of distinct values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import add, sub
from typing import Final, cast

import numpy as np

from api.query.plan import DistinctValues, Sum, Term
from api.query.sums import EXACT_MAX
from schemas.catalog.measures import (
    CALLS,
    COST_EVENTS,
    COST_NANO_USD,
    EVENTS,
    MEASURES,
    SKETCHES,
    How,
    Measure,
)
from schemas.catalog.sketches import RELATIVE_ERROR, SAMPLE_ERROR, Distinct, Histogram
from schemas.catalog.views import Catalog, View
from schemas.event.kinds import USAGE_KINDS
from schemas.limits import NANO_PER_USD, SECOND_MS

Number = int | float | None


@dataclass(frozen=True)
class Derived:
    """`times` x the sum of `over` without that of `less`, divided by `by`, and by the sum of `under` if
    there is one.

    Names are stored measures; `name@usage` counts only events of kind llm, tts and stt.
    """

    name: str
    unit: str
    about: str
    over: tuple[str, ...]
    under: tuple[str, ...] = ()
    times: int = 1
    by: int = 1
    less: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offered:
    """A measure that a question may ask for, made of terms that the engine sums.

    `known`: the numbers of events with a cost and of requests; null where only the first is 0. With `share`
    (0 to 1) it is that quantile of a histogram. `mean`: the sum and the number of its values, which make it
    more exact where the view has them. With a dimension in `distinct` it is the
    number of values of that dimension that have events (api/usage/distinct.py).
    """

    name: str
    unit: str
    about: str
    over: tuple[Term, ...]
    under: tuple[Term, ...]
    times: int = 1
    by: int = 1
    share: float | None = None
    distinct: str = ""
    known: tuple[Term, ...] = ()
    less: tuple[Term, ...] = ()
    mean: tuple[Term, ...] = ()

    @property
    def is_ratio(self) -> bool:
        return bool(self.under) or self.share is not None

    @property
    def terms(self) -> tuple[Term, ...]:
        return self.over + self.under + self.known + self.less


DERIVED: Final = (
    Derived("requests", "events", "Requests to a model, a voice or a speech recogniser: events of kind llm, tts and stt.", ("events@usage",)),
    Derived("successful_requests", "events", "Requests whose field `error` is not set.", ("events@usage",), less=("errors@usage",)),
    Derived("failed_requests", "events", "Requests whose field `error` is set. `errors` counts such events of all kinds; the dimension `error_class` tells why they failed.", ("errors@usage",)),
    Derived("cost_usd", "USD", "Cost in US dollars, sent or priced. Events without a known cost add nothing; `cost_coverage` says how many have one. Null where there were requests and none has a cost.", ("cost_nano_usd",), by=NANO_PER_USD),
    Derived("total_tokens", "tokens", "Input and output tokens together. Events that report neither add 0.", ("input_tokens", "output_tokens")),
    Derived("avg_latency_ms", "ms", "Mean `latency_ms` of the events that report one. Null where none does.", ("latency_ms",), ("latency_events",)),
    Derived("avg_first_output_ms", "ms", "Mean `first_output_ms` of the events that report one. Null where none does.", ("first_output_ms",), ("first_output_events",)),
    Derived("avg_cost_usd", "USD", "Mean cost of the events that have one. Null where none has.", ("cost_nano_usd",), ("cost_events",), by=NANO_PER_USD),
    Derived("cost_per_request_usd", "USD", "Cost divided by all requests, those without a known cost included. Null where there was no request, or none has a cost.", ("cost_nano_usd",), ("events@usage",), by=NANO_PER_USD),
    Derived("cost_per_1m_tokens_usd", "USD", "Cost divided by input and output tokens, for a million tokens. Null where there were no tokens, or no request has a cost.", ("cost_nano_usd",), ("input_tokens", "output_tokens"), times=10**6, by=NANO_PER_USD),
    Derived("error_rate", "share", "Share of requests whose field `error` is set, 0 to 1. Null where there was no request.", ("errors@usage",), ("events@usage",)),
    Derived("cost_coverage", "share", "Share of requests that have a cost, sent or priced, 0 to 1. Null where there was no request.", ("cost_events",), ("events@usage",)),
    Derived("tokens_per_request", "tokens", "Mean input and output tokens of a request. Null where there was no request.", ("input_tokens", "output_tokens"), ("events@usage",)),
    Derived("tokens_per_second", "tokens/s", "Output tokens divided by the summed latency. Meaningful where every event reports both. Null where no latency was reported.", ("output_tokens",), ("latency_ms",), times=SECOND_MS),
    Derived("cache_hit_share", "share", "Share of input tokens that were read from a cache, 0 to 1. Null where there were no input tokens.", ("cache_read_tokens",), ("input_tokens",)),
    Derived("reasoning_share", "share", "Share of output tokens that models spent on reasoning, 0 to 1. Null where there were no output tokens.", ("reasoning_tokens",), ("output_tokens",)),
    Derived("tts_audio_minutes", "min", "Length of the speech that was made, in minutes, from `tts_audio_ms`. Events that do not report it add 0.", ("tts_audio_ms",), by=60 * SECOND_MS),
    Derived("stt_audio_minutes", "min", "Length of the speech that was transcribed, in minutes, from `stt_audio_ms`. Events that do not report it add 0.", ("stt_audio_ms",), by=60 * SECOND_MS),
    Derived("call_minutes", "min", "Length of the calls, in minutes: the latest `duration_ms` of each. Calls that report none add 0.", ("call_duration_ms",), by=60 * SECOND_MS),
    Derived("avg_call_duration_ms", "ms", "Length of the calls divided by their number, those that report none included. Null where there was no call.", ("call_duration_ms",), ("calls",)),
)  # fmt: skip

USERS: Final = "users"
"""The measure that counts the values of a dimension."""

DEFAULTS: Final = ("requests", "errors", "input_tokens", "output_tokens", "cost_usd")
"""The measures of an answer if the question names none."""

PERCENTILES: Final = (
    ("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99_9", 0.999),
)  # fmt: skip


@cache
def offered_by(catalog: Catalog) -> Mapping[str, Offered]:
    """Every measure that a question may ask for, by name."""
    kept = {measure.name: measure for measure in catalog.measures}
    offered = {measure.name: _as_kept(measure) for measure in catalog.measures}
    for sketch in SKETCHES:
        if sketch.how is How.HISTOGRAM:
            offered |= {one.name: one for one in _percentiles(sketch, catalog)}
        else:
            offered[sketch.name] = _as_kept(sketch)
    about = (
        "Different users with at least one request, from `user_id`, else `user_email`. Exact, up to"
        " the view's limit of series."
    )
    requests = (Term(EVENTS, USAGE_KINDS),)
    offered[USERS] = Offered(USERS, "users", about, requests, (), distinct="user")
    for one in DERIVED:
        names = [name.partition("@")[0] for name in one.over + one.under + one.less]
        if one.name not in offered and all(name in kept for name in names):
            over, under, less = (
                tuple(_term(name, kept) for name in part)
                for part in (one.over, one.under, one.less)
            )
            offered[one.name] = Offered(
                one.name,
                one.unit,
                one.about,
                over,
                under,
                one.times,
                one.by,
                known=_KNOWN if COST_NANO_USD in (term.measure for term in over) else (),
                less=less,
            )
    return offered


def _percentiles(sketch: Measure, catalog: Catalog) -> list[Offered]:
    known = (one for one in MEASURES if one.field == sketch.field and one in catalog.measures)
    of_field = {one.how: one for one in known}
    mean = [Term(of_field[how]) for how in (How.SUM, How.REPORTED) if how in of_field]
    return [
        Offered(
            f"{name}_{sketch.name}_{sketch.unit}",
            sketch.unit,
            f"Of the events that report `{sketch.field}`, {share * 100:g}% took at most this long, within"
            f" {RELATIVE_ERROR:.0%}, and exactly up to 29 ms. Null where no event reports it.",
            (Term(sketch),),
            (),
            share=share,
            mean=tuple(mean) if len(mean) == 2 else (),
        )
        for name, share in PERCENTILES
    ]


def _as_kept(measure: Measure) -> Offered:
    known = _KNOWN if measure is COST_NANO_USD else ()
    return Offered(measure.name, measure.unit, measure.about, (Term(measure),), (), known=known)


_KNOWN: Final = (Term(COST_EVENTS), Term(EVENTS, USAGE_KINDS))


def _term(name: str, kept: Mapping[str, Measure]) -> Term:
    measure, _, kinds = name.partition("@")
    return Term(kept[measure], USAGE_KINDS if kinds == "usage" else ())


@dataclass(frozen=True)
class MeasureFormula:
    """How to compute a measure: the places of its terms among the sums. `is_count`: the sum is a set,
    and the measure its size. `known`: as of `Offered`."""

    name: str
    over: tuple[int, ...]
    under: tuple[int, ...]
    times: int
    by: int
    share: float | None = None
    is_count: bool = False
    known: tuple[int, ...] = ()
    less: tuple[int, ...] = ()
    mean: tuple[int, ...] = ()

    def column(self, sums: Sequence[Sequence[Sum]]) -> list[Number]:
        """The measure of each row, from `sums[term][row]`. Always a new list."""
        found = self._column(sums)
        if not self.known:
            return found
        costs, requests = (sums[place] for place in self.known)
        if 0 not in costs:
            return found
        return [
            None if count and not cost else value
            for value, cost, count in zip(found, costs, requests, strict=True)
        ]

    def _column(self, sums: Sequence[Sequence[Sum]]) -> list[Number]:
        if self.share is not None:
            return self._quantiles(sums, self.share)
        by = self.by
        if self.is_count:
            return [_counted(one) for one in sums[self.over[0]]]
        totals = _added(sums, self.over)
        if self.less:
            totals = [*map(sub, totals, _added(sums, self.less))]
        if self.times != 1:
            totals = [total * self.times for total in totals]
        if self.under:
            divisors = [count * by for count in _added(sums, self.under)]
            return [
                None
                if not divisor
                else total // divisor
                if total % divisor == 0
                else total / divisor
                for total, divisor in zip(totals, divisors, strict=True)
            ]
        if by == 1:
            return [*totals]
        return _divided(totals, by)

    def _quantiles(self, sums: Sequence[Sequence[Sum]], share: float) -> list[Number]:
        (place,) = self.over
        found: list[Number] = [
            one.quantile(share) if isinstance(one, Histogram) else None for one in sums[place]
        ]
        if not self.mean:
            return found
        totals, counts = (cast("Sequence[int]", sums[place]) for place in self.mean)
        for row, one in enumerate(sums[place]):
            # A worker counts both from the same events. If not, the mean says nothing of this histogram.
            if isinstance(one, Histogram) and one.has_one_bin and one.count == counts[row]:
                whole, rest = divmod(totals[row], counts[row])
                found[row] = totals[row] / counts[row] if rest else whole
        return found


def terms_of(offered: Sequence[Offered]) -> tuple[Term, ...]:
    """The terms of these measures, each once. Sketches are last, as in rows."""
    terms = dict.fromkeys(term for one in offered for term in one.terms)
    return tuple(sorted(terms, key=lambda term: not term.measure.is_sum))


def with_means(terms: Sequence[Term], offered: Sequence[Offered], view: View) -> tuple[Term, ...]:
    """These terms and what the view has of `mean`."""
    means = (one.mean for one in offered)
    more = [t for mean in means if all(t.measure.name in view.holds for t in mean) for t in mean]
    every = dict.fromkeys((*terms, *more))
    return tuple(sorted(every, key=lambda term: not term.measure.is_sum))


def with_presence(terms: Sequence[Term], view: View) -> tuple[Term, ...]:
    """These terms and the number of events: a group or bucket exists because it has events, also if all
    that is asked for is 0. Views that count only calls tell it by those."""
    present = next((Term(one) for one in (EVENTS, CALLS) if one.name in view.holds), None)
    if present is None or present in terms:
        return tuple(terms)
    return tuple(sorted((*terms, present), key=lambda term: not term.measure.is_sum))


def formulas(offered: Sequence[Offered], terms: Sequence[Term]) -> tuple[MeasureFormula, ...]:
    """The formula of each measure. The values that a `distinct` measure counts are behind the terms."""
    place = {term: index for index, term in enumerate(terms)}
    return tuple(
        MeasureFormula(
            one.name,
            (len(terms),) if one.distinct else tuple(place[term] for term in one.over),
            tuple(place[term] for term in one.under),
            one.times,
            one.by,
            one.share,
            bool(one.distinct) or any(term.measure.how is How.DISTINCT for term in one.over),
            tuple(place[term] for term in one.known),
            tuple(place[term] for term in one.less),
            tuple(place[term] for term in one.mean if term in place),
        )
        for one in offered
    )


def estimates_of(
    shown: Sequence[MeasureFormula], sums: Sequence[Sequence[Sum]]
) -> dict[str, float]:
    """The measures that are estimates in these rows, with their relative error.

    Of a percentile it is the largest possible error, of a count of distinct values one standard error.
    """
    found: dict[str, float] = {}
    for formula in shown:
        if formula.share is not None:
            found[formula.name] = RELATIVE_ERROR
            continue
        if not formula.is_count:
            continue
        (place,) = formula.over
        if any(isinstance(one, Distinct) and not one.is_exact for one in sums[place]):
            found[formula.name] = round(SAMPLE_ERROR, 3)
    return found


def _added(sums: Sequence[Sequence[Sum]], places: tuple[int, ...]) -> Sequence[int]:
    """The sums of the terms at these places, which are numbers."""
    numbers = cast("Sequence[Sequence[int]]", sums)
    added: Sequence[int] = numbers[places[0]]
    for place in places[1:]:
        added = list(map(add, added, numbers[place]))
    return added


def _divided(totals: Sequence[int], by: int) -> list[Number]:
    """Each quotient as a whole number if it is one, else as the nearest double."""
    if max(map(abs, totals), default=0) > EXACT_MAX:
        return [total // by if total % by == 0 else total / by for total in totals]
    numbers = np.array(totals, np.int64)
    quotients: list[Number] = (numbers / by).tolist()
    for place in np.flatnonzero(numbers % by == 0).tolist():
        quotients[place] = totals[place] // by
    return quotients


def _counted(one: Sum) -> int:
    return len(one) if isinstance(one, Distinct | DistinctValues) else cast("int", one)
