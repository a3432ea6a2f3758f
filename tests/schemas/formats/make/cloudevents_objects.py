"""Fixtures out of the CloudEvents SDK: `pip install cloudevents==2.2.0`, then run this file."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from write import write

ATTRIBUTES = {
    "id": "evt-1",
    "source": "/gateways/größe 1",
    "type": "com.example.usage",
    "specversion": "1.0",
    "time": datetime(2026, 2, 8, 10, 0, 0, 123000, tzinfo=UTC),
    "subject": "my agent",
    "datacontenttype": "application/json",
}
DATA = {"kind": "llm", "provider": "openai", "model": "gpt-4o", "input_tokens": 1200}


def text(message: HTTPMessage) -> str:
    body = message.body
    return body.decode() if isinstance(body, bytes) else str(body)


def main() -> None:
    structured = json.loads(text(to_structured_event(CloudEvent(ATTRIBUTES, DATA))))
    write("cloudevents", "cloudevents", "structured", structured)
    raw = {**ATTRIBUTES, "datacontenttype": "application/octet-stream"}
    as_bytes = CloudEvent(raw, json.dumps(DATA).encode())
    write("cloudevents", "cloudevents", "bytes", json.loads(text(to_structured_event(as_bytes))))
    write("cloudevents", "cloudevents", "batch", [structured, {**structured, "id": "evt-2"}])
    binary = to_binary_event(CloudEvent(ATTRIBUTES, DATA))
    write(
        "cloudevents",
        "cloudevents",
        "binary",
        {"headers": sorted(binary.headers.items()), "data": text(binary)},
    )


if __name__ == "__main__":
    main()
