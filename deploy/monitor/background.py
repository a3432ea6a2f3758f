"""An event loop in a thread of its own, for collectors that ask Redis and Kafka."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from schemas.errors import OdometerError

Result = TypeVar("Result")


class BackgroundLoop:
    """Runs coroutines. The loop of the process does nothing for them. It ends with the process."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def result(self, asking: Coroutine[Any, Any, Result], timeout_s: float) -> Result | None:
        """The result, from any other thread; None if it takes too long, or a server does not answer."""
        future = asyncio.run_coroutine_threadsafe(asking, self._loop)
        try:
            return future.result(timeout_s)
        except (concurrent.futures.TimeoutError, OdometerError):
            future.cancel()
            return None

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
