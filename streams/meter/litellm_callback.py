"""`LiteLLMCallback`: records each call that LiteLLM reports, in the SDK and in the proxy.

LiteLLM is imported when the first callback is made, so that this module needs no LiteLLM.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, Protocol, Self

from schemas.errors import InvalidConfig

PAYLOAD: Final = "standard_logging_object"
_TEXTS: Final = frozenset({"messages", "response", "error_str", "model_map_information"})
"""What the format does not read, or only of speech. It must not wait in the queue."""
_SPEECH: Final = ("speech", "aspeech")


class RecordsAnswers(Protocol):
    """A `Meter`, or what an app puts in front of one."""

    def record_from(
        self,
        answer: object,
        /,
        *,
        format: str | None = None,  # noqa: A002  the contract's word
        **context: str | int,
    ) -> None: ...


class LiteLLMCallback:
    """An instance is a `CustomLogger` of LiteLLM: `litellm.callbacks = [LiteLLMCallback(meter)]`.

    InvalidConfig if LiteLLM is not installed. `context` is added to each event, such as `service`.
    """

    def __new__(cls, *_: object, **__: object) -> Self:
        real: Any = _with_base() if cls is LiteLLMCallback else cls
        made: Self = object.__new__(real)
        return made

    def __init__(self, meter: RecordsAnswers, **context: str | int) -> None:
        super().__init__()
        self._meter = meter
        self._context = context

    def log_success_event(self, kwargs: Mapping[str, Any], *_: object, **__: object) -> None:
        self._record(kwargs)

    def log_failure_event(self, kwargs: Mapping[str, Any], *_: object, **__: object) -> None:
        self._record(kwargs)

    async def async_log_success_event(
        self, kwargs: Mapping[str, Any], *_: object, **__: object
    ) -> None:
        self._record(kwargs)

    async def async_log_failure_event(
        self, kwargs: Mapping[str, Any], *_: object, **__: object
    ) -> None:
        self._record(kwargs)

    # LiteLLM gives `response_obj`, `start_time` and `end_time` too, by place or by name.

    def _record(self, kwargs: Mapping[str, Any]) -> None:
        """Records the payload that LiteLLM makes for its loggers; the meter says if there is none."""
        payload = kwargs.get(PAYLOAD) if isinstance(kwargs, Mapping) else None
        if isinstance(payload, Mapping):
            texts = _TEXTS if payload.get("call_type") not in _SPEECH else _TEXTS - {"messages"}
            payload = {name: value for name, value in payload.items() if name not in texts}
            failed = payload.get("error_information")
            if isinstance(failed, Mapping):  # its message and traceback are texts too
                payload["error_information"] = {"error_class": failed.get("error_class")}
        self._meter.record_from(payload, format="litellm", **self._context)


@lru_cache(maxsize=1)
def _with_base() -> type[LiteLLMCallback]:
    try:
        base = import_module("litellm.integrations.custom_logger").CustomLogger
    except ModuleNotFoundError as error:
        raise InvalidConfig(
            f"a callback of LiteLLM needs the package {error.name}: pip install litellm"
        ) from error
    own = LiteLLMCallback
    return type(own.__name__, (own, base), {"__module__": own.__module__})
