"""The Open WebUI dialect: its analytics, users and groups as one application under /api/v1."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette

from api.auth.key_cache import KeyCache
from api.http.application import application
from api.openwebui import analytics, users
from api.openwebui.errors import error_response
from api.store.reader import Store


def openwebui(
    store: Store, key_cache: KeyCache, clock: Callable[[], int], new_id: Callable[[], str]
) -> Starlette:
    """The dialect as an application; `new_id` makes the ids of groups."""
    routes = [
        *analytics.routes(store, key_cache, clock),
        *users.routes(store, key_cache, clock, new_id),
    ]
    return application(routes, error_response, redirects_slashes=True)
