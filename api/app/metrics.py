"""The metrics of an API process: requests, what came in, what was rejected, and what is held.

A request costs two microseconds here: numbers are added to dicts. Prometheus' families are made when
somebody scrapes, in another thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import Message, Scope, Send

from api.http.caller import Caller
from api.http.durations import Durations
from api.ingest import langfuse
from api.ingest.otlp import is_otlp

NO_ROUTE: Final = "none"
"""Of a path that is none of ours. The path itself would make a series for each typing error."""
METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
OTHER_METHOD: Final = "other"
REJECTED: Final = {
    "NoCredentials": "no_key",
    "UnknownKey": "unknown_key",
    "ExpiredKey": "expired_key",
}
LIMITED: Final = {
    "RateLimited": "requests",
    "TooManyConnections": "connections",
    "QuotaUsedUp": "ids",
    "TooManyQuestions": "questions",
    "TooManyLargeQuestions": "large_questions",
    "TooManyUnreadAnswers": "unread_answers",
    "TooManyStreams": "streams",
    "CountingBehind": "history",
    "TooBusy": "bytes",
}
"""Requests that a limit rejected, by error."""
FORMATS: Final = ("events", "otlp", "langfuse", "agentlens")
OUTCOMES: Final = ("accepted", "refused", "skipped")

Labels = TypeVar("Labels", bound=tuple[str, ...])
Gauges = Mapping[str, Callable[[], float]]


class ApiMetrics(Collector):
    """`reads`: durations of the reads from Redis. `held_bytes`: what holds bytes, each with how many it
    holds now. `open_streams`: how many streams are open."""

    def __init__(
        self, reads: Durations, held_bytes: Gauges, open_streams: Callable[[], float]
    ) -> None:
        self.registry = CollectorRegistry()
        self._reads = reads
        self._now_s = reads.now_s
        self._held_bytes = held_bytes
        self._open_streams = open_streams
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._durations: dict[str, Durations] = {}
        self._events: Counter[tuple[str, str]] = Counter(
            {(form, outcome): 0 for form in FORMATS for outcome in OUTCOMES}
        )
        self._rejected: Counter[str] = Counter(dict.fromkeys(REJECTED.values(), 0))
        self._limited: Counter[str] = Counter(dict.fromkeys(LIMITED.values(), 0))
        self.registry.register(self)

    def watched(self, scope: Scope, caller: Caller, send: Send) -> Send:
        """`send`, which also counts the request when its answer begins."""
        began_s = self._now_s()

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(scope, caller, message["status"], self._now_s() - began_s)
            await send(message)

        return send_and_count

    def _note(self, scope: Scope, caller: Caller, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "") or NO_ROUTE
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        self._requests[method, route, str(status)] += 1
        durations = self._durations.get(route)
        if durations is None:
            durations = self._durations[route] = Durations(self._now_s)
        durations.note(seconds)
        if caller.error:
            if caller.error in REJECTED:
                self._rejected[REJECTED[caller.error]] += 1
            if caller.error in LIMITED:
                self._limited[LIMITED[caller.error]] += 1
        if caller.accepted or caller.refused or caller.skipped:
            form = format_of(scope["method"], scope["path"])
            self._events[form, "accepted"] += caller.accepted
            self._events[form, "refused"] += caller.refused
            self._events[form, "skipped"] += caller.skipped

    def describe(self) -> Iterator[Metric]:
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        yield _counter(
            "odometer_http_requests",
            "Requests, by method, route and status of the answer.",
            ("method", "route", "status"),
            self._requests,
        )
        durations = HistogramMetricFamily(
            "odometer_http_request_duration_seconds",
            "Time until the answer to a request begins, by route.",
            labels=["route"],
        )
        for route, one in sorted(dict(self._durations).items()):
            durations.add_metric([route], buckets=one.buckets, sum_value=one.sum_s)
        yield durations
        yield _counter(
            "odometer_ingest_events",
            "Events that came over HTTP, by format and outcome: accepted, refused or skipped.",
            ("format", "outcome"),
            self._events,
        )
        yield _counter(
            "odometer_rejected_authentications",
            "Requests without a valid key, by reason.",
            ("reason",),
            {(reason,): count for reason, count in dict(self._rejected).items()},
        )
        yield _counter(
            "odometer_limited_requests",
            "Requests that a limit rejected, by limit. History is told to come later.",
            ("limit",),
            {(limit,): count for limit, count in dict(self._limited).items()},
        )
        yield HistogramMetricFamily(
            "odometer_read_duration_seconds",
            "Time to read the counters of one answer from Redis or the cache.",
            buckets=self._reads.buckets,
            sum_value=self._reads.sum_s,
        )
        held = GaugeMetricFamily(
            "odometer_held_bytes",
            "Bytes that this process holds now: bodies, events for Kafka, history that waits, unread answers.",
            labels=["kind"],
        )
        for kind, count in self._held_bytes.items():
            held.add_metric([kind], count())
        yield held
        yield GaugeMetricFamily(
            "odometer_open_streams", "Streams that are open now.", value=self._open_streams()
        )


def format_of(method: str, path: str) -> str:
    """The format that a path takes."""
    if is_otlp(method, path):
        return "otlp"
    if path == langfuse.PATH:
        return "langfuse"
    return "agentlens" if path.startswith("/api/") else "events"


def _counter(name: str, text: str, labels: tuple[str, ...], counts: dict[Labels, int]) -> Metric:
    """`counts` by the values of the labels. It may change in another thread."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in sorted(counts.copy().items()):
        family.add_metric(values, count)
    return family
