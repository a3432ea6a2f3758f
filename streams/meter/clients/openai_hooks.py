"""The hooks of OpenAI's and Anthropic's clients: `request`, through which all calls go, and `copy`.

Both libraries share their design: `client.request(cast_to, options, stream=..., stream_cls=...)` sends
one call with its retries. It returns a model, a stream, or a raw response. Tested with openai 3.57 and
anthropic 2.14.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, Final

from streams.meter.clients.client_call import ClientCall, WrappedClient
from streams.meter.clients.routes import Route
from streams.meter.clients.taps import attach
from streams.meter.queued import WireBody

OPTION: Final = "stream_options"
RouteOf = Callable[[str, str], Route | None]
"""Method and URL to the call that it is."""
_NO_OPTION: Final = frozenset({400, 422})
"""How servers that only speak OpenAI's protocol refuse an option that they do not know."""


class SentCall:
    """A call on its way. `options` are those to send; `asked` says that the meter added an option."""

    __slots__ = ("_call", "_client", "asked", "options")

    def __init__(self, client: WrappedClient, route: Route, options: Any) -> None:  # noqa: ANN401
        self.options = options
        self.asked = False
        self._client = client
        if route.is_chat and client.asks_usage:
            self._ask(options)
        self._call = ClientCall(client, route, options.json_data)

    def _ask(self, options: Any) -> None:  # noqa: ANN401
        body = options.json_data
        if not isinstance(body, dict) or body.get("stream") is not True:
            return
        if OPTION in (getattr(options, "extra_json", None) or ()):
            return
        given = body.get(OPTION)
        given = given if isinstance(given, dict) else {}
        if "include_usage" in given:
            return
        self.options = copy(options)
        self.options.json_data = {**body, OPTION: {**given, "include_usage": True}}
        self.asked = True

    def is_refused_for_asking(self, error: BaseException) -> bool:
        """Whether the server refused the option that the meter added. Then it is asked without."""
        if not self.asked or getattr(error, "status_code", None) not in _NO_OPTION:
            return False
        if not any(word in str(error) for word in (OPTION, "include_usage")):
            return False
        self.asked = self._client.asks_usage = False
        return True

    def answered(self, answer: Any) -> None:  # noqa: ANN401
        """A whole answer, a stream, or a raw response of either."""
        kind = type(answer)
        if hasattr(kind, "model_dump"):  # pydantic's: a look-up of what it has not is slow
            self._call.answered(answer)
            return
        is_stream = hasattr(kind, "__next__") or hasattr(kind, "__anext__")
        response = getattr(answer, "response" if is_stream else "http_response", None)
        if response is None:
            self._call.answered(answer)
        elif hasattr(response, "_content"):
            self._call.answered(WireBody(response.content))
        else:
            attach(response, self._call, hides=self.asked)

    def failed(self, error: BaseException) -> None:
        self._call.failed(error)


def hook(
    client: Any,  # noqa: ANN401  the client is the app's
    route_of: RouteOf,
    wrapped: WrappedClient,
    again: Callable[[Any], Any],
    *,
    is_async: bool,
) -> None:
    """`again` wraps a copy of the client."""
    make = _arequest if is_async else _request
    client.request = make(client.request, route_of, wrapped)
    for name in ("copy", "with_options"):
        setattr(client, name, _copying(getattr(client, name), again))


def _sent(route_of: RouteOf, wrapped: WrappedClient, options: Any) -> SentCall | None:  # noqa: ANN401
    """None for a request that no model answers."""
    route = route_of(options.method, options.url)
    return None if route is None else SentCall(wrapped, route, options)


def _request(
    original: Callable[..., Any], route_of: RouteOf, wrapped: WrappedClient
) -> Callable[..., Any]:
    def request(cast_to: Any, options: Any, *words: Any, **named: Any) -> Any:  # noqa: ANN401
        sent: SentCall | None = wrapped.guarded(_sent, route_of, wrapped, options)
        if sent is None:
            return original(cast_to, options, *words, **named)
        try:
            try:
                answer = original(cast_to, sent.options, *words, **named)
            except Exception as error:
                if not wrapped.guarded(sent.is_refused_for_asking, error):
                    raise
                answer = original(cast_to, options, *words, **named)
        except BaseException as error:
            wrapped.guarded(sent.failed, error)
            raise
        wrapped.guarded(sent.answered, answer)
        return answer

    return request


def _arequest(
    original: Callable[..., Awaitable[Any]],
    route_of: RouteOf,
    wrapped: WrappedClient,
) -> Callable[..., Awaitable[Any]]:
    async def request(cast_to: Any, options: Any, *words: Any, **named: Any) -> Any:  # noqa: ANN401
        sent: SentCall | None = wrapped.guarded(_sent, route_of, wrapped, options)
        if sent is None:
            return await original(cast_to, options, *words, **named)
        try:
            try:
                answer = await original(cast_to, sent.options, *words, **named)
            except Exception as error:
                if not wrapped.guarded(sent.is_refused_for_asking, error):
                    raise
                answer = await original(cast_to, options, *words, **named)
        except BaseException as error:
            wrapped.guarded(sent.failed, error)
            raise
        wrapped.guarded(sent.answered, answer)
        return answer

    return request


def _copying(original: Callable[..., Any], again: Callable[[Any], Any]) -> Callable[..., Any]:
    def copied(*words: Any, **named: Any) -> Any:  # noqa: ANN401
        return again(original(*words, **named))

    return copied
