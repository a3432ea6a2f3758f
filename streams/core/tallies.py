"""What a batch adds to the tallies that `odometer status` shows, besides those of single records. Pure.

Producers choose the names of some tallies: unknown fields, and models without a price. Such a name
is counted with its tenant, because each tenant may have a share of the stored names only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import numpy as np

from schemas.prices.billing import BILLED
from schemas.prices.cost import price
from schemas.prices.price_list import Prices
from schemas.prices.tariffs import Unpriced
from schemas.store.layout import Int64s
from streams.core.columns import Columns
from streams.core.pricing import COMPUTED, UNPRICED, CostSource, CostSources

NamedTallies = Counter[tuple[str, str]]
"""Counts by tenant and tally. The tenant is "" for the tally `other` of a kind."""
NAMES_MAX: Final = 100
"""Names of one kind that one commit may have. Each is a command that blocks Redis. The rest are counted
together."""
NAME_CHARS_MAX: Final = 64
"""Characters of a field, of a provider, of a model and of a reason in a tally: enough to find it."""
REASONS_MAX: Final = 200
"""Prices that one commit looks at to name reasons: 50 us each."""


def cost_tallies(cost_source: CostSources) -> Counter[str]:
    """Counts events by the list that priced them."""
    counts = np.bincount(cost_source, minlength=len(CostSource))
    return Counter({name: int(counts[one]) for one, name in COMPUTED.items() if counts[one]})


def unpriced(rows: Columns, prices: Prices) -> NamedTallies:
    """Counts events without a price by tenant, provider and model; those with an incomplete cost by its
    reason too."""
    found: NamedTallies = Counter()
    for one, head in UNPRICED.items():
        at = np.flatnonzero(rows.cost_source == one)
        if len(at):
            labels = _reasons(rows, at, prices) if one is CostSource.INCOMPLETE else [""] * len(at)
            found += bounded(head, _models(head, rows, at, labels))
    return found


def _reasons(rows: Columns, at: Int64s, prices: Prices) -> list[str]:
    """Why each of these events has no cost. Events that report the same fields on the same day, of one
    model and under the same terms, have the same reason. So a producer whose events are all incomplete costs
    the worker one look at a price, not one for each event."""
    known: dict[tuple[object, ...], str] = {}
    found = []
    for row in at.tolist():
        wire = rows.events.wires[rows.origin[row]]
        reported = tuple(None if number is None else number > 0 for number in _billed(wire))
        alike = (wire.time.date(), *_facts(wire), reported)
        if alike not in known:
            is_room = len(known) < REASONS_MAX
            answer = price(wire, prices) if is_room else None
            known[alike] = answer.label if isinstance(answer, Unpriced) else "other reasons"
        found.append(known[alike])
    return found


_billed: Final = attrgetter(*BILLED)
_facts: Final = attrgetter(
    "kind", "tenant", "provider", "model", "service_tier", "speed", "region", "cost_problem"
)


def unknown(fields: NamedTallies) -> NamedTallies:
    """Counts events by tenant and unknown field. `fields`: by tenant and the whole name."""
    named: NamedTallies = Counter()
    for (tenant, name), count in fields.items():
        named[tenant, f"unknown:{name[:NAME_CHARS_MAX]}"] += count
    return bounded("unknown:", named)


def bounded(head: str, named: NamedTallies) -> NamedTallies:
    """At most NAMES_MAX of these tallies, and one for the rest. Each tenant's largest come first, so
    the names of one tenant do not push out those of another."""
    if len(named) <= NAMES_MAX:
        return named
    ranks: Counter[str] = Counter()
    ranked = []
    for (tenant, name), count in sorted(named.items(), key=lambda one: (-one[1], one[0])):
        ranked.append((ranks[tenant], -count, tenant, name))
        ranks[tenant] += 1
    ranked.sort()
    kept = Counter({(tenant, name): -less for _, less, tenant, name in ranked[:NAMES_MAX]})
    kept["", f"{head}other"] = sum(-less for _, less, _, _ in ranked[NAMES_MAX:])
    return kept


def _models(head: str, rows: Columns, at: Int64s, labels: Sequence[str]) -> NamedTallies:
    tenants, providers, models = (rows.words[name] for name in ("tenant", "provider", "model"))
    columns = rows.tenants, rows.codes["provider"], rows.codes["model"]
    named: NamedTallies = Counter()
    codes = zip(*(column[at].tolist() for column in columns), labels, strict=True)
    for (tenant, provider, model, label), count in Counter(codes).items():
        name = f"{providers[provider][:NAME_CHARS_MAX]}/{models[model][:NAME_CHARS_MAX]}"
        why = f": {label[:NAME_CHARS_MAX]}" if label else ""
        named[tenants[tenant], f"{head}{name}{why}"] += count
    return named
