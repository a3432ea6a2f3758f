"""`POST /v1/events` over a real Kafka: what is answered, and what stands on the topic."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import product
from typing import Any

import pytest
from backports import zstd

from api.auth.audit import operator
from api.auth.authenticate import EXPORTER_HEADERS
from api.auth.keys import KeySpec, create_keys, opened
from api.ingest.body_reader import INLINE_BYTES_MAX
from api.ingest.endpoints import IDEMPOTENCY_KEY_CHARS_MAX
from api.ingest.partitioner import partitions_of
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from schemas.event.partition_key import partition_key
from schemas.formats.body import BODY_BYTES_MAX, ITEMS_MAX
from schemas.formats.structure import DEPTH_MAX
from schemas.limits import HOUR_MS
from schemas.units import iso
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS
from tests.api.ingest.taking import PARTITIONS, Taking, taking
from tests.oracles.event_logs import event

pytestmark = pytest.mark.servers

LINES = {"content-type": "application/x-ndjson"}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": NOW_MS // 1000,
    "model": "gpt-4o",
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
}


@pytest.fixture
async def api(kafka: Server, redis_url: str, topic: str, clock: Clock) -> AsyncIterator[Taking]:
    key = await create_key(redis_url, name="gateway", tenant="acme", role="member")
    async with taking(kafka.address, redis_url, topic, clock, key) as api:
        yield api


def one(**changes: Any) -> dict[str, Any]:
    """A valid event of now."""
    return event(**{"time": iso(NOW_MS), **changes})


def cloud(**changes: Any) -> dict[str, Any]:
    data = {name: value for name, value in one().items() if name not in {"id", "source", "time"}}
    return {
        "specversion": "1.0",
        "id": "evt-1",
        "source": "gateway",
        "type": "usage",
        "time": iso(NOW_MS),
        "data": data,
        **changes,
    }


def bodies() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Each way to send the one event."""
    plain = json.dumps(one()).encode()
    yield "object", plain, {"content-type": "application/json"}
    yield "charset", plain, {"content-type": 'Application/JSON; charset="UTF-8"'}
    yield "array", b"[" + plain + b"]", {"content-type": "application/json"}
    yield "no type", plain, {}
    yield "ndjson", b"\n" + plain + b"\r\n\n", LINES
    yield "gzip", gzip.compress(plain), {"content-encoding": "gzip"}
    yield (
        "gzip, twice",
        gzip.compress(plain[:9]) + gzip.compress(plain[9:]),
        {"content-encoding": "GZIP"},
    )
    yield "deflate", zlib.compress(plain), {"content-encoding": "deflate"}
    yield "zstd", zstd.compress(plain), {"content-encoding": "zstd"}
    structured = json.dumps(cloud()).encode()
    yield "structured", structured, {"content-type": "application/cloudevents+json"}
    yield "structured, told by itself", structured, {"content-type": "application/json"}
    yield "batch", b"[" + structured + b"]", {"content-type": "application/cloudevents-batch+json"}
    yield (
        "binary",
        json.dumps(cloud()["data"]).encode(),
        {
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": "evt-1",
            "ce-source": "gateway",
            "ce-type": "usage",
            "ce-time": iso(NOW_MS),
        },
    )


@pytest.mark.parametrize(
    ("body", "headers"), [pytest.param(b, h, id=name) for name, b, h in bodies()]
)
async def test_an_event_is_the_same_in_each_kind_of_body(
    api: Taking, body: bytes, headers: dict[str, str]
) -> None:
    answer = await api.post(body, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {
        "accepted": 1,
        "skipped": 0,
        "refused": 0,
        "ids": "given",
        "unknown_fields": [],
        "refusals": [],
        "more_refusals": 0,
        "skips": [],
        "more_skips": 0,
    }
    (held,) = await api.held()
    assert held | {"time": 0} == {**one(), "tenant": "acme", "time": 0, "cost_usd": "0.0045"}


async def test_records_have_the_key_and_the_partition_that_every_producer_gives_them(
    api: Taking,
) -> None:
    sent = [one(id=f"e{n}", **({"call_id": f"call-{n % 7}"} if n % 2 else {})) for n in range(60)]
    assert (await api.post(sent)).json()["accepted"] == 60
    log = await api.log()
    held = {json.loads(record.value or b"")["id"]: record for record in log}
    for given in sent:
        key = partition_key("acme", given["source"], given["id"], given.get("call_id"))
        record = held[given["id"]]
        assert record.key == key
        assert record.partition == partitions_of([key], PARTITIONS)[0]
    assert len({record.partition for record in log}) == PARTITIONS
    by_call = [json.loads(r.value or b"")["id"] for r in log if r.key == b"acme|call-1"]
    assert by_call == sorted(by_call, key=lambda id_: int(id_[1:]))


async def test_of_a_mixed_batch_the_good_are_taken_and_each_other_one_is_explained(
    api: Taking,
) -> None:
    batch = [one(id="a"), one(id=5), one(id="b", inputtokens=1), one(input_tokens=10**9 + 1), 7]
    answer = await api.post(batch)
    assert answer.status_code == 202
    said = answer.json()
    assert (said["accepted"], said["refused"], said["unknown_fields"]) == (2, 3, ["inputtokens"])
    assert [(r["index"], r["field"], r["reason"]) for r in said["refusals"]] == [
        (1, "id", "invalid_field"),
        (3, "input_tokens", "invalid_field"),
        (4, "", "invalid_field"),
    ]
    assert "1000000000" in said["refusals"][1]["detail"]
    assert [held["id"] for held in await api.held()] == ["a", "b"]


async def test_atomic_takes_all_or_nothing(api: Taking) -> None:
    batch = [one(id="a"), one(id=5)]
    answer = await api.post(batch, params={"atomic": "true"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/docs#invalid-events"
    assert [refusal["index"] for refusal in answer.json()["refusals"]] == [1]
    assert await api.log() == []
    answer = await api.post(batch[:1], params={"atomic": "true"})
    assert answer.status_code == 202


async def test_where_every_object_is_refused_the_request_is(api: Taking) -> None:
    answer = await api.post(one(kind="video"))
    assert answer.status_code == 400
    assert answer.json()["refusals"][0]["field"] == "kind"
    assert (await api.post([])).json()["accepted"] == 0


async def test_what_is_refused_line_by_line(api: Taking) -> None:
    body = b'{"id":\n' + json.dumps(one()).encode() + b"\n[1]\n\xff\n" + b"[" * 2000
    said = (await api.post(body, headers=LINES)).json()
    assert said["accepted"] == 1
    assert [(r["index"], r["reason"]) for r in said["refusals"]] == [
        (0, "not_json"),
        (2, "invalid_field"),
        (3, "not_json"),
        (4, "not_json"),
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"time": iso(NOW_MS + HOUR_MS + 60_000)}, "time"),
        ({"time": "2001-01-01T00:00:00Z"}, "time"),
        ({"call_id": "c", "call_started_at": "2001-01-01T00:00:00Z"}, "call_started_at"),
    ],
)
async def test_what_the_fold_would_bury_for_its_age_is_refused_at_once(
    api: Taking, changes: dict[str, Any], field: str
) -> None:
    said = (await api.post([one(id="a"), one(**changes)])).json()
    assert [(r["index"], r["field"]) for r in said["refusals"]] == [(1, field)]
    assert said["accepted"] == 1


# -- identity --------------------------------------------------------------------------------------


async def test_an_idempotency_key_names_what_has_no_id(api: Taking) -> None:
    body = [{**CHAT, "id": None}, {**CHAT, "id": None}, one(id="own")]
    for _again in range(2):
        answer = await api.post(body, headers={"idempotency-key": '"send-1"'})
        assert answer.json()["ids"] == "given"
    ids = [held["id"] for held in await api.held()]
    assert ids == ["own", "own", "send-1-0", "send-1-0", "send-1-1", "send-1-1"]


@pytest.mark.parametrize(
    "path", ["/v1/events", "/v1/traces", "/api/public/ingestion", "/api/events"]
)
async def test_headers_with_two_values_that_name_the_key_or_tenant_are_rejected(
    api: Taking, path: str
) -> None:
    own = api.client.headers["authorization"]
    for name, values in (
        *((name, (own, "Bearer other")) for name in ("authorization", *EXPORTER_HEADERS)),
        ("x-api-key", ("one", "other")),
        ("x-odometer-tenant", ("acme", "other")),
    ):
        headers = [("content-type", "application/json"), *((name, value) for value in values)]
        answer = await api.client.post(path, content=b"{}", headers=headers)
        assert answer.status_code == 400, (name, answer.text)
        assert f"the header {name} is in the request with different values" in answer.text
    assert await api.log() == []


@pytest.mark.parametrize(
    "path", ["/v1/events", "/v1/traces", "/api/public/ingestion", "/api/events"]
)
async def test_two_headers_with_different_keys_are_rejected(api: Taking, path: str) -> None:
    bearer = api.client.headers["authorization"]
    key = bearer.removeprefix("Bearer ")
    basic = f"Basic {b64encode(f'public:{key}'.encode()).decode()}"
    ways = [("authorization", bearer), ("authorization", basic), ("x-api-key", key)]
    ways += [(name, bearer) for name in EXPORTER_HEADERS]
    others = [("authorization", "Bearer other"), ("authorization", "Basic cHVibGljOm90aGVy")]
    others += [(name, "other") for name in ("x-api-key", *EXPORTER_HEADERS)]
    del api.client.headers["authorization"]
    for one, other in product(ways, others):
        if one[0] != other[0]:
            answer = await api.client.post(path, json={}, headers=[other, one])
            assert (answer.status_code, "different keys" in answer.text) == (400, True), (
                one,
                other,
            )
            assert key not in answer.text
    assert await api.log() == []
    for one, same in product(ways, ways):
        answer = await api.client.post(path, json={}, headers=dict([one, same]))
        assert "different keys" not in answer.text


async def test_without_one_the_answer_says_that_ids_were_made(api: Taking) -> None:
    for _again in range(2):
        assert (await api.post({**CHAT, "id": None})).json()["ids"] == "generated"
    first, second = await api.held()
    assert first["id"] != second["id"]
    assert (await api.post(CHAT)).json()["ids"] == "given"


# -- context and tenant ----------------------------------------------------------------------------


async def test_what_objects_lack_comes_from_the_query_or_an_envelope(api: Taking) -> None:
    params = {"format": "openai", "agent_id": "support", "latency_ms": "850", "call_id": "c-1"}
    answer = await api.post(CHAT, params=params)
    assert answer.status_code == 202
    envelope = {"format": "openai", "context": {"agent_id": "sales"}, "payload": CHAT}
    answer = await api.post([envelope | {"payload": {**CHAT, "id": "chatcmpl-2"}}])
    assert answer.status_code == 202
    first, second = await api.held()
    assert (first["agent_id"], first["latency_ms"], first["call_id"]) == ("support", 850, "c-1")
    assert second["agent_id"] == "sales"
    assert first["tenant"] == second["tenant"] == "acme"


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"formt": "openai"}, "formt"),
        ({"format": "replicate"}, "format"),
        ({"atomic": "maybe"}, "atomic"),
        ({"latency_ms": "fast"}, "latency_ms"),
        ([("agent_id", "a"), ("agent_id", "b")], "agent_id"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(api: Taking, params: Any, parameter: str) -> None:
    answer = await api.post(one(), params=params)
    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter
    assert await api.log() == []


async def test_an_event_of_another_tenant_is_refused_and_one_without_gets_the_keys(
    api: Taking,
) -> None:
    batch = [one(id="a"), one(id="b", tenant="acme"), one(id="c", tenant="other"), one(tenant=5)]
    said = (await api.post(batch)).json()
    assert [(r["index"], r["field"]) for r in said["refusals"]] == [(2, "tenant"), (3, "tenant")]
    assert [(held["id"], held["tenant"]) for held in await api.held()] == [
        ("a", "acme"),
        ("b", "acme"),
    ]


async def test_a_key_of_several_tenants_writes_to_the_one_that_is_named(
    api: Taking, redis_url: str
) -> None:
    async with opened(redis_url) as store:
        wanted = KeySpec("both", ("acme", "beta"), "write-only")
        (made,) = await create_keys(store, [wanted], operator(), NOW_MS)
    both = {"authorization": f"Bearer {made.secret}"}
    batch = [one(id="a", tenant="acme"), one(id="b", tenant="beta"), one(id="c"), one(tenant="x")]
    said = (await api.post(batch, headers=both)).json()
    assert [(r["index"], r["field"]) for r in said["refusals"]] == [(2, "tenant"), (3, "tenant")]
    envelope = {"context": {"tenant": "beta"}, "payload": one(id="d")}
    foreign = {"context": {"tenant": "gamma"}, "payload": one(id="e")}
    said = (await api.post([envelope, foreign], headers=both)).json()
    assert [(r["index"], r["field"]) for r in said["refusals"]] == [(1, "context.tenant")]
    answer = await api.post(one(id="f"), headers=both, params={"tenant": "acme"})
    assert answer.status_code == 202
    answer = await api.post(one(id="g"), headers={**both, "x-odometer-tenant": "beta"})
    assert answer.status_code == 202
    held = [(held["id"], held["tenant"]) for held in await api.held()]
    assert held == [("a", "acme"), ("b", "beta"), ("d", "beta"), ("f", "acme"), ("g", "beta")]


async def test_who_may_not_write(api: Taking, key: str) -> None:
    answer = await api.post(one(), headers={"authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["type"]) == (403, "/docs#forbidden")
    answer = await api.post(one(), params={"tenant": "other"})
    assert (answer.status_code, answer.json()["type"]) == (403, "/docs#forbidden")
    answer = await api.post(one(), headers={"authorization": ""})
    assert (answer.status_code, answer.json()["type"]) == (401, "/docs#unauthenticated")
    assert await api.log() == []


# -- limits ----------------------------------------------------------------------------------------


def bomb(make: Callable[[bytes], bytes], size_bytes: int) -> bytes:
    return make(b"[" + b" " * size_bytes + b"]")


REFUSED: list[tuple[str, bytes, dict[str, str], int, str]] = [
    ("large", b" " * (BODY_BYTES_MAX + 1), {}, 413, "16777216"),
    ("gzip bomb", bomb(gzip.compress, 10 * BODY_BYTES_MAX), {"content-encoding": "gzip"}, 413, ""),
    ("zstd bomb", bomb(zstd.compress, 10 * BODY_BYTES_MAX), {"content-encoding": "zstd"}, 413, ""),
    ("deep", b"[" * (DEPTH_MAX + 1), {}, 400, f"{DEPTH_MAX} levels"),
    ("a million tiny", b"[" + b"{}," * 1_000_000 + b"{}]", {}, 413, "700000"),
    ("many numbers", b"[" + b"1," * 600_000 + b"1]", {}, 413, f"{ITEMS_MAX} objects"),
    ("many lines", b"1\n" * 1_000_000, LINES, 413, "20000 lines"),
    ("huge integer", b'{"input_tokens":' + b"9" * 5000 + b"}", {}, 400, "JSON"),
    ("nan", b'{"cost_usd":NaN}', {}, 400, "NaN"),
    ("twice", b'{"id":"a","id":"b"}', {}, 400, "'id' is in one object twice"),
    ("not json", b"hello", {}, 400, "JSON"),
    ("empty", b"", {}, 400, "JSON"),
    ("not utf-8", b'"\xff"', {}, 400, "UTF-8"),
    ("type", b"{}", {"content-type": "application/xml"}, 415, "application/json"),
    ("charset", b"{}", {"content-type": "application/json; charset=latin1"}, 415, "UTF-8"),
    ("encoding", b"{}", {"content-encoding": "br"}, 415, "zstd"),
    ("cut gzip", gzip.compress(b"[]")[:-3], {"content-encoding": "gzip"}, 400, "whole"),
    ("cut zstd", zstd.compress(b"[]")[:-2], {"content-encoding": "zstd"}, 400, "whole"),
    ("no gzip", b"[]", {"content-encoding": "gzip"}, 400, "decompressed"),
    ("window", b"\x28\xb5\x2f\xfd\x00\xf8", {"content-encoding": "zstd"}, 400, "decompressed"),
    (
        "batch that is none",
        b"{}",
        {"content-type": "application/cloudevents-batch+json"},
        400,
        "array",
    ),
]


@pytest.mark.parametrize(
    ("body", "headers", "status", "word"),
    [pytest.param(*row[1:], id=row[0]) for row in REFUSED],
)
async def test_a_body_that_is_none_is_refused_with_its_limit(
    api: Taking, body: bytes, headers: dict[str, str], status: int, word: str
) -> None:
    answer = await api.post(body, headers=headers)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_in_parts_is_refused_as_soon_as_it_is_too_large(api: Taking) -> None:
    sent = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b" " * (1 << 20)

    answer = await api.client.post("/v1/events", content=parts())
    assert answer.status_code == 413


async def test_a_large_body_is_read_beside_the_event_loop(api: Taking) -> None:
    batch = [one(id=f"e{n}", chat_title="x" * 500) for n in range(1000)]
    assert len(json.dumps(batch)) > INLINE_BYTES_MAX
    answer = await api.post(batch)
    assert answer.json()["accepted"] == 1000
    assert len(await api.log()) == 1000


@pytest.mark.parametrize("seed", ["x" * (IDEMPOTENCY_KEY_CHARS_MAX + 1), "é", "a\tb"])
async def test_an_idempotency_key_that_would_be_no_id_is_refused(api: Taking, seed: str) -> None:
    answer = await api.post(one(), headers={"idempotency-key": seed.encode()})
    assert (answer.status_code, answer.json()["parameter"]) == (400, "idempotency-key")


async def test_words_that_are_no_utf8_come_back_as_some_that_are(api: Taking) -> None:
    body = json.dumps([one(id="a"), {**one(), "\ud800": 1, "labels": {"\ud800": 5}}]).encode()
    answer = await api.post(body, headers={"content-type": "application/json"})
    assert answer.status_code == 202
    assert re.fullmatch(r"labels\..*", answer.json()["refusals"][0]["field"])
