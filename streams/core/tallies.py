"""What a batch adds to the tallies that `odometer status` shows, besides those of single records. Pure.

Producers choose the names of some tallies: unknown fields, and models without a price. Such a name
is counted with its tenant, because each tenant may have a share of the stored names only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from schemas.store.layout import Int64s
from streams.core.pricing import COMPUTED, UNPRICED, CostSource, CostSources

NamedTallies = Counter[tuple[str, str]]
"""Counts by tenant and tally. The tenant is "" for the tally `other` of a kind."""
NAMES_MAX: Final = 100
"""Names of one kind that one commit may have. Each is a command that blocks Redis. The rest are counted
together."""
NAME_CHARS_MAX: Final = 64
"""Characters of a field, of a provider and of a model in a tally: enough to find it."""


def cost_tallies(cost_source: CostSources) -> Counter[str]:
    """Counts events by the list that priced them."""
    counts = np.bincount(cost_source, minlength=len(CostSource))
    return Counter({name: int(counts[one]) for one, name in COMPUTED.items() if counts[one]})


def unpriced(
    cost_source: CostSources,
    tenants: Int64s,
    codes: Mapping[str, Int64s],
    words: Mapping[str, Sequence[str]],
) -> NamedTallies:
    """Counts events without a price by tenant, provider and model. `codes` and `tenants`: indexes into
    `words`."""
    found: NamedTallies = Counter()
    for one, head in UNPRICED.items():
        rows = np.flatnonzero(cost_source == one)
        if len(rows):
            found += bounded(head, _models(head, rows, tenants, codes, words))
    return found


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


def _models(
    head: str,
    rows: Int64s,
    tenants: Int64s,
    codes: Mapping[str, Int64s],
    words: Mapping[str, Sequence[str]],
) -> NamedTallies:
    providers, models = words["provider"], words["model"]
    keys = (tenants[rows] * len(providers) + codes["provider"][rows]) * len(models)
    found = np.unique(keys + codes["model"][rows], return_counts=True)
    named: NamedTallies = Counter()
    for key, count in zip(*(one.tolist() for one in found), strict=True):
        pair, model = divmod(key, len(models))
        tenant, provider = divmod(pair, len(providers))
        name = f"{providers[provider][:NAME_CHARS_MAX]}/{models[model][:NAME_CHARS_MAX]}"
        named[words["tenant"][tenant], f"{head}{name}"] += count
    return named
