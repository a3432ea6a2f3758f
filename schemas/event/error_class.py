"""The class of an error, from what producers write as `error`: a code, a class name, a status. Pure.

A dashboard asks "rate limits or our own fault?"; the codes of ten providers and the exception classes
of their libraries do not answer that. A class that the event reports itself is kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_STATUS: Final = {
    400: "invalid_request",
    401: "authentication",
    402: "quota",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "invalid_request",
    413: "context_length",
    422: "invalid_request",
    429: "rate_limit",
    499: "cancelled",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_CLASSES: Final = (
    # The first that matches: "insufficient_quota" is no rate limit, though OpenAI answers it with 429.
    ("quota", r"insufficient_?quota|quota|billing|credit|budget|payment|usage_?limit"),
    ("rate_limit", r"rate_?limit|too_?many_?requests|throttl|resource_?exhausted|tokens_?per_?min"),
    ("context_length", r"context_?length|context_?window|max_?tokens|too_?long|too_?large|too_?many_?tokens"),
    ("content_filter", r"content_?filter|content_?policy|moderation|safety|guardrail|blocked|refus"),
    ("timeout", r"time_?d?_?out|deadline"),
    ("overloaded", r"overload|unavailable|capacity|not_?ready"),
    ("authentication", r"authenticat|unauthori[sz]ed|unauthenticated|invalid_?(?:api_?)?key|api_?key"),
    ("permission", r"permission|forbidden|access_?denied"),
    ("not_found", r"not_?found|unknown_?model|no_?such|does_?not_?exist"),
    ("cancelled", r"cancel|abort|interrupt|client_?disconnect"),
    ("connection", r"connect|network|socket|dns|tls|ssl|eof|broken_?pipe|unreachable|protocol_?error"),
    ("invalid_request", r"invalid|bad_?request|validation|unprocessable|unsupported|malformed|parse"),
    ("server_error", r"server_?error|internal|api_?error|bad_?gateway|service_?error"),
)  # fmt: skip
ERROR_CLASSES: Final = (*(name for name, _ in _CLASSES), "other")
_PATTERNS: Final = tuple((name, re.compile(pattern)) for name, pattern in _CLASSES)
_CODE: Final = re.compile(r"(?<![0-9])([45][0-9]{2})(?![0-9])")
_WORD_EDGE: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^0-9A-Za-z]+")


_READ_CHARS: Final = 256
"""Of an error that is read: codes and class names are shorter, and a cache holds these texts."""


def error_class_of(error: str) -> str:
    """One of ERROR_CLASSES: `RateLimitError`, `rate_limit_exceeded`, `429` are `rate_limit`."""
    return _class_of(error[:_READ_CHARS])


@lru_cache(maxsize=1024)
def _class_of(error: str) -> str:
    words = _WORD_EDGE.sub("_", error).lower()
    for name, pattern in _PATTERNS:
        if pattern.search(words):
            return name
    code = _CODE.search(error)
    if code is None:
        return "other"
    status = int(code[1])
    return _STATUS.get(status, "server_error" if status >= 500 else "invalid_request")
