"""Deadlines for exchanges with Kafka.

The client can wait forever, both for an answer and for its own `stop`. So every exchange has a
deadline of ours, and a failed one raises `LogUnavailable`.

This module and `streams.kafka.producer` import nothing of streams.core: an app that meters its
calls imports them too, and must not need the packages of a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient

from schemas.errors import LogUnavailable

ANSWER_S: Final = 5.0
"""For one answer. A broker answers in milliseconds; after a restart it needs some seconds until it
leads its partitions again."""
SEND_S: Final = 10.0
"""Until a batch of records is acknowledged. The client itself would wait forever."""
CLOSE_S: Final = 2.0
"""For a client's `stop`, which hangs on a frozen broker. Leaving it loses nothing: offsets are in
Redis."""
T = TypeVar("T")


async def within_deadline(seconds: float, exchange: Awaitable[T], what: str) -> T:
    """Awaits one exchange with the broker. Raises LogUnavailable if it fails or takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await exchange
    except TimeoutError as error:
        raise LogUnavailable(f"Kafka did not {what} within {seconds:g} s") from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise LogUnavailable(f"Kafka did not {what}: {error!r}") from error


async def close_client(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
    """Closes a client, or abandons it after CLOSE_S."""
    stop = client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop()
    await asyncio.wait([asyncio.ensure_future(stop)], timeout=CLOSE_S)
