"""Keys of the counts that quotas of tenants are checked against. Pure."""

from __future__ import annotations

from schemas.store.layout import prefix


def id_counts_key(generation: int, slice_: int) -> str:
    """Hash: tenant -> how many ids it has in a slice."""
    return f"{prefix(generation)}q.ids.{slice_}"


def series_counts_key(generation: int) -> str:
    """Hash: tenant's id -> how many series it has, in all tables."""
    return prefix(generation) + "q.series"
