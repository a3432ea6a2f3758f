"""The metrics of the directory's process, and whether it is ready."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter

from streams.directory.records import Stream


class DirectoryMetrics:
    """`store_away`: the error while Redis does not answer, else "". `is_recovering`: the tables are read
    from their changelogs. `is_filled`: Redis has all rows of the tables."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.store_away = ""
        self.is_recovering = True
        self.is_filled = False
        self._records = Counter(
            "odometer_directory_records",
            "Records of the directory's topics, by topic and outcome: written or rejected.",
            ("stream", "outcome"),
            registry=self.registry,
        )
        for stream in Stream:
            for outcome in ("written", "rejected"):
                self._records.labels(stream, outcome)

    def note(self, stream: Stream, outcome: str) -> None:
        self._records.labels(stream, outcome).inc()

    async def ready(self) -> Mapping[str, object]:
        reason = self.store_away
        if not reason and self.is_recovering:
            reason = "the tables are being read from their changelogs in Kafka"
        if not reason and not self.is_filled:
            reason = "the rows of the tables are being written to Redis"
        return {"ok": not reason, "reason": reason}
