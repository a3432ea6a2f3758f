"""Failed authentication in the audit log: one line a source and minute, and never more than so many."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest

from api.auth.failures import LINES_MAX, PERIOD_MS, SOURCES_MAX, FailedAuthentications, network_of
from schemas.store.keys import Key
from tests.api.conftest import Clock, client_of

NOW_MS = 1_770_552_123_456


@pytest.fixture
def failures(caplog: pytest.LogCaptureFixture) -> FailedAuthentications:
    caplog.set_level(logging.INFO, "odometer.audit")
    return FailedAuthentications()


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records]


def test_a_source_has_one_line_a_minute(
    failures: FailedAuthentications, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(1_000):
        failures.note("unknown_key", "192.0.2.1", NOW_MS + n)
    failures.note("no_key", "192.0.2.2", NOW_MS + 1_000)
    first = {"at_ms": NOW_MS, "action": "authentication_failed"}
    assert lines(caplog) == [
        first | {"reason": "unknown_key", "source": "192.0.2.1"},
        first | {"at_ms": NOW_MS + 1_000, "reason": "no_key", "source": "192.0.2.2"},
    ]
    later = {"at_ms": NOW_MS + PERIOD_MS, "action": "authentication_failed"}
    failures.note("unknown_key", "192.0.2.1", NOW_MS + PERIOD_MS)
    assert lines(caplog)[2:] == [
        later | {"more_failures": 999, "sources": 1},
        later | {"reason": "unknown_key", "source": "192.0.2.1"},
    ]


def test_many_sources_have_few_lines_and_little_memory(
    failures: FailedAuthentications, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(10_000):
        failures.note("unknown_key", f"10.0.{n >> 8}.{n & 255}", NOW_MS)
    assert len(caplog.records) == LINES_MAX
    assert len(failures._unwritten) == SOURCES_MAX
    failures.note("unknown_key", "192.0.2.1", NOW_MS + PERIOD_MS)
    assert lines(caplog)[LINES_MAX]["more_failures"] == 10_000 - LINES_MAX
    assert len(failures._unwritten) == 1


def test_a_line_names_the_key_that_has_ended(
    failures: FailedAuthentications, caplog: pytest.LogCaptureFixture
) -> None:
    key = Key(id="key-0123456789", name="a\x1b[2J", tenants=("t",), role="viewer", created_ms=0)
    failures.note("revoked_key", "192.0.2.1", NOW_MS, key)
    (line,) = lines(caplog)
    assert (line["key_id"], line["key_name"]) == (key.id, key.name)
    assert caplog.records[0].getMessage().isprintable()


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient\n", ""),
    ],
)
def test_the_addresses_of_a_network_are_one_source(source: str, network: str) -> None:
    assert network_of(source) == network


async def test_each_way_to_fail_is_recorded_without_the_key(
    redis_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "odometer.audit")
    async with client_of(redis_url, clock) as client:
        for reason, headers in (
            ("no_key", {}),
            ("unknown_key", {"authorization": "bearer als_guess"}),
            ("unknown_key", {"x-api-key": "k" * 5_000}),
        ):
            clock.now_ms += PERIOD_MS
            before = len(caplog.records)
            await refused(client, headers)
            line = lines(caplog)[before]
            assert (line["reason"], line["source"]) == (reason, "127.0.0.1")
    assert "guess" not in caplog.text
    assert "kkk" not in caplog.text


async def refused(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await client.get("/v1/usage", headers=headers)).status_code == 401
