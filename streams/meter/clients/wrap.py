"""`wrap`: which library a client is of, and its hooks. The client stays the same object.

A client is known by the modules of its class and of the classes that it inherits from, so that no
library has to be imported or installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from streams.meter.clients import google_hooks, openai_hooks
from streams.meter.clients.client_call import Recorder, WrappedClient
from streams.meter.clients.routes import anthropic_route, openai_route

T = TypeVar("T")
WRAPPED: Final = "_odometer"
"""The attribute of a client that is wrapped."""
_CLOUDS: Final = {
    prefix + name: provider
    for name, provider in (
        ("AzureOpenAI", "azure"),
        ("BedrockOpenAI", "aws"),
        ("AnthropicBedrock", "aws"),
        ("AnthropicVertex", "google"),
    )
    for prefix in ("", "Async")
}
"""Classes of clients for another provider's cloud, whose URL may be that of a gateway."""
_ROUTES: Final = {"openai": openai_route, "anthropic": anthropic_route}


def wrap(client: T, recorder: Recorder, given: Mapping[str, str | int], *, ask_usage: bool) -> T:
    """The same client, which records its calls. One of no known library is not changed.

    A client that is wrapped already records for this recorder and context from now on.
    """
    any_client: Any = client
    known = getattr(any_client, WRAPPED, None)
    if isinstance(known, WrappedClient):
        known.recorder, known.given, known.asks_usage = recorder, given, ask_usage
        return client
    bases = {kind.__name__: kind.__module__ for kind in type(client).__mro__}
    is_async = "AsyncAPIClient" in bases
    library = bases.get("AsyncAPIClient" if is_async else "SyncAPIClient", "").partition(".")[0]
    if library in _ROUTES:
        wrapped = WrappedClient(recorder, getattr(any_client, "base_url", None), given)
        wrapped.provider = next(
            (_CLOUDS[name] for name in bases if name in _CLOUDS), wrapped.provider
        )
        openai_hooks.hook(
            any_client,
            _ROUTES[library],
            wrapped,
            lambda copy: wrap(copy, wrapped.recorder, wrapped.given, ask_usage=wrapped.asks_usage),
            is_async=is_async,
        )
    elif bases.get("Client", "").startswith("google.genai"):
        wrapped = WrappedClient(recorder, google_hooks.url_of(any_client), given)
        google_hooks.hook(any_client, wrapped)
    else:
        kind = type(client)
        recorder.once(
            f"a client of {kind.__module__}.{kind.__qualname__} cannot be wrapped: pass a client of"
            " openai, anthropic or google-genai, or record its answers with `record_from`"
        )
        return client
    wrapped.asks_usage = ask_usage
    setattr(any_client, WRAPPED, wrapped)
    return client
