"""The hooks of google-genai's client: the four requests of its `_api_client`, through which all calls go.

`client.aio` shares that object. A call with automatic function calling makes several requests; each is
recorded. Tested with google-genai 3.6.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from streams.meter.clients.client_call import ClientCall, WrappedClient
from streams.meter.clients.routes import google_route
from streams.meter.clients.stream_notes import StreamNotes
from streams.meter.queued import WireBody

_IMAGE: Final = re.compile(r'"(?:bytesBase64Encoded|gcsUri)"\s*:')
_TOKENS: Final = re.compile(r'"token_?[cC]ount"\s*:\s*(\d{1,10})\b')
_PROMPT: Final = re.compile(r'"promptTokenCount"\s*:\s*(\d{1,10})\b')


def url_of(client: Any) -> object:  # noqa: ANN401  the client is the app's
    return getattr(getattr(client._api_client, "_http_options", None), "base_url", None)  # noqa: SLF001


def hook(client: Any, wrapped: WrappedClient) -> None:  # noqa: ANN401
    api = client._api_client  # noqa: SLF001
    api.request = _request(api.request, wrapped)
    api.async_request = _arequest(api.async_request, wrapped)
    api.request_streamed = _streamed(api.request_streamed, wrapped)
    api.async_request_streamed = _astreamed(api.async_request_streamed, wrapped)


class GoogleCall:
    """One request. Each method is guarded: what fails in it is logged, and the app goes on."""

    def __init__(self, wrapped: WrappedClient, method: str, path: str) -> None:
        self._wrapped = wrapped
        self._notes = StreamNotes()
        self._call: ClientCall | None = None
        wrapped.guarded(self._begin, method, path)

    def _begin(self, method: str, path: str) -> None:
        route = google_route(method, path)
        if route is not None:
            model = path.partition("?")[0].rpartition(":")[0].rpartition("models/")[2]
            self._call = ClientCall(self._wrapped, route, {"model": model})
            self._wrapped.recorder.streams.add(self)

    def answered(self, answer: Any) -> None:  # noqa: ANN401
        self._wrapped.guarded(self._answered, answer)

    def _answered(self, answer: Any) -> None:  # noqa: ANN401
        if self._call is not None:
            body = answer.body or ""
            if self._call.route.operation == "chat":
                has_usage = "usageMetadata" in body
                self._call.answered(WireBody(body.encode(), is_whole=True) if has_usage else None)
            else:
                self._call.answered(told_of(body))

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Around what sends the request: its error is the call's, and the app's."""
        try:
            yield
        except BaseException as error:
            if self._call is not None:
                self._wrapped.guarded(self._call.failed, error)
            raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what reads a stream: to its end, until an error, or until the app reads no further."""
        try:
            yield
            self._ended(is_whole=True)
        except Exception as error:
            self._ended(error)
            raise
        finally:
            self._ended()

    def read(self, chunk: Any) -> None:  # noqa: ANN401
        self._wrapped.guarded(self._read, chunk)

    def _read(self, chunk: Any) -> None:  # noqa: ANN401
        said = json.loads(chunk.body) if self._call is not None and chunk.body else None
        if isinstance(said, dict) and self._call is not None:
            self._notes.see(said)
            self._call.read(self._notes)

    def _ended(self, error: BaseException | None = None, *, is_whole: bool = False) -> None:
        if self._call is not None:
            self._notes.is_complete |= is_whole
            self._wrapped.guarded(self._call.ended, self._notes, error)

    def abandon(self) -> None:
        """The process ends."""
        if self._notes.answer:
            self._ended()


def told_of(body: str) -> dict[str, Any] | None:
    """What the answer of embeddings or images tells, without its vectors and pictures: these are not
    decoded in the app's thread, and do not wait in the queue."""
    images = len(_IMAGE.findall(body))
    if images:
        return {"data": [{}] * images}
    asked = _PROMPT.search(body)
    if asked:
        return {"embedding": {}, "usageMetadata": {"promptTokenCount": int(asked[1])}}
    tokens = [int(found) for found in _TOKENS.findall(body)]
    return {"embeddings": [{"statistics": {"token_count": sum(tokens)}}]} if tokens else None


def _request(original: Callable[..., Any], wrapped: WrappedClient) -> Callable[..., Any]:
    def request(http_method: str, path: str, *words: Any, **named: Any) -> Any:  # noqa: ANN401
        call = GoogleCall(wrapped, http_method, path)
        with call.sending():
            answer = original(http_method, path, *words, **named)
        call.answered(answer)
        return answer

    return request


def _arequest(original: Callable[..., Any], wrapped: WrappedClient) -> Callable[..., Any]:
    async def request(http_method: str, path: str, *words: Any, **named: Any) -> Any:  # noqa: ANN401
        call = GoogleCall(wrapped, http_method, path)
        with call.sending():
            answer = await original(http_method, path, *words, **named)
        call.answered(answer)
        return answer

    return request


def _streamed(original: Callable[..., Any], wrapped: WrappedClient) -> Callable[..., Any]:
    def request(http_method: str, path: str, *words: Any, **named: Any) -> Iterator[Any]:  # noqa: ANN401
        call = GoogleCall(wrapped, http_method, path)
        with call.reading():
            for chunk in original(http_method, path, *words, **named):
                call.read(chunk)
                yield chunk

    return request


def _astreamed(original: Callable[..., Any], wrapped: WrappedClient) -> Callable[..., Any]:
    async def request(http_method: str, path: str, *words: Any, **named: Any) -> AsyncIterator[Any]:  # noqa: ANN401
        call = GoogleCall(wrapped, http_method, path)
        with call.sending():
            source = await original(http_method, path, *words, **named)
        return _apassed(source, call)

    return request


async def _apassed(source: AsyncIterator[Any], call: GoogleCall) -> AsyncIterator[Any]:
    with call.reading():
        async for chunk in source:
            call.read(chunk)
            yield chunk
