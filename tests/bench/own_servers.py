"""The servers of one benchmark: a Kafka and a Valkey, in a directory that goes with them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.kafka import start_kafka
from deploy.local.servers import Server, free_port
from deploy.local.valkey import start_valkey


@contextmanager
def own_servers() -> Iterator[tuple[Path, Server, Server]]:
    """The directory, Kafka and Valkey."""
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as name:
        directory = Path(name)
        kafka = start_kafka(directory, port=free_port(), controller_port=free_port())
        try:
            valkey = start_valkey(directory, port=free_port())
            try:
                yield directory, kafka, valkey
            finally:
                valkey.stop()
        finally:
            kafka.stop()
