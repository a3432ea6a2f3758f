"""Redis' errors as ours: one mapping for streams and api. Pure.

It reads the names of an error's classes and its text, so it needs no import of the client. The
client removes the code word (`OOM`, `READONLY`) from the text of errors that it has a class for; a
reply that is read without the client still begins with it. Both give the same error here.

What the worker and the API do next decides the choice:
- StoreUnavailable: Redis gave no answer, or will accept the same command later. The worker retries
  under the same commit id, which counts once. The API answers 503.
- StoreFull: Redis accepts no writes, but reads work. The worker retries, too.
- StoreCorrupt: all others, such as a key of another type or a failed script. Retrying would fail
  again, so the worker ends with the error. The API answers 503, never a number.
"""

from __future__ import annotations

from typing import Final

from schemas.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable


class FunctionMissing(StoreUnavailable):
    """The server does not have our library: it is new, or was emptied. Load it and call again."""


class LibraryExists(StoreError):
    """Another process has loaded the same library first."""


_CODES: Final = {
    "AskError": "ASK",
    "AuthenticationError": "NOAUTH",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
"""The client's classes, and the code words that it removes from their text."""
_NO_ANSWER: Final = {"ConnectionError", "TimeoutError", "OSError", "InvalidResponse"}
"""InvalidResponse: the connection is out of step, so no reply on it can be trusted."""
_BY_CODE: Final[dict[str, tuple[type[StoreError], str]]] = {
    **dict.fromkeys(
        ("NOAUTH", "NOPERM", "WRONGPASS"), (StoreUnavailable, "Redis rejects our login")
    ),
    **dict.fromkeys(
        (
            "ASK",  # a slot is moving to another node
            "BUSY",  # a script has been running for long
            "CLUSTERDOWN",
            "LOADING",  # after a restart
            "MASTERDOWN",  # a replica that has lost its master
            "MOVED",
            "NOREPLICAS",
            "READONLY",  # a replica: a failover is under way
            "TRYAGAIN",
        ),
        (StoreUnavailable, "Redis is not ready"),
    ),
    # MISCONF: it cannot write to its disk
    **dict.fromkeys(("MISCONF", "OOM"), (StoreFull, "Redis accepts no writes")),
}


def is_forbidden(error: Exception) -> bool:
    """Whether this user may not run the command, or the service has removed it."""
    names = [kind.__name__ for kind in type(error).__mro__]
    text = str(error)
    return "NoPermissionError" in names or text.startswith("NOPERM") or "unknown command" in text


def store_error(error: Exception) -> StoreError:
    """Our error for an error of the Redis client."""
    names = [kind.__name__ for kind in type(error).__mro__]
    text = str(error) or type(error).__name__
    code = next((_CODES[name] for name in names if name in _CODES), text.partition(" ")[0])
    if code in _BY_CODE:
        kind, said = _BY_CODE[code]
        return kind(f"{said}: {text}")
    if _NO_ANSWER.intersection(names) or "max number of clients reached" in text:
        return StoreUnavailable(f"Redis does not answer: {text}")
    if "unction not found" in text:
        return FunctionMissing(f"Redis does not have our functions: {text}")
    if "ibrary" in text and "already exists" in text:
        return LibraryExists(text)
    return StoreCorrupt(f"Redis rejected the command: {text}")
