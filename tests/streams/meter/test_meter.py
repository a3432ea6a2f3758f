"""The Meter: never in its app's way, and every event sent, refused or dropped by count."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from deploy.local.servers import Server, free_port, plain_environment
from deploy.settings import CHECKOUT
from schemas.errors import InvalidConfig
from streams.kafka.topics import ensure_topics
from streams.meter import Meter
from tests.real.harness.topics import read_log
from tests.schemas.formats.fixtures import fixture
from tests.streams.meter.receiver import Answer, receiver_of

QUICK_S = 0.01


def test_an_event_arrives_with_an_id_a_time_and_what_all_have_in_common() -> None:
    with (
        receiver_of([]) as receiver,
        Meter(
            receiver.url, key="als_k", source="app", common={"agent_id": "a", "service": "s"}
        ) as meter,
    ):
        before = datetime.now(UTC)
        first = meter.record("llm", model="gpt-4o", input_tokens=3, agent_id="b", cost_usd=0.1)
        at = datetime(2026, 2, 8, 10, tzinfo=UTC)
        second = meter.record("call", id="call-1-end", time=at, call_id="call-1", duration_ms=5)
        assert meter.flush(30)
        assert meter.counts == (2, 0, 0, 0)
    assert second == "call-1-end"
    (events,) = receiver.bodies
    stamp = datetime.fromisoformat(events[0].pop("time"))
    assert abs((stamp - before).total_seconds()) < 5
    assert events == [
        {"id": first, "kind": "llm", "source": "app", "agent_id": "b", "service": "s",
         "model": "gpt-4o", "input_tokens": 3, "cost_usd": 0.1},
        {"id": second, "time": "2026-02-08T10:00:00Z", "kind": "call", "source": "app",
         "agent_id": "a", "service": "s", "call_id": "call-1", "duration_ms": 5},
    ]  # fmt: skip
    assert receiver.headers[0]["authorization"] == "Bearer als_k"


def test_what_did_not_arrive_is_sent_again_with_the_same_ids() -> None:
    away = Answer(503, {"detail": "Kafka is away"}, (("retry-after", "0"),))
    script = [away, Answer(0), Answer(401, {"title": "no such key"}), away]
    with receiver_of(script) as receiver, Meter(receiver.url, source="app") as meter:
        sent = [meter.record("llm") for _ in range(5)]
        assert meter.flush(30)
        assert meter.counts == (5, 0, 0, 0)
    assert receiver.ids == sent
    assert [[one["id"] for one in body] for body in receiver.bodies] == [sent] * 5


def test_retry_after_is_waited_for() -> None:
    away = Answer(503, {}, (("retry-after", "1"),))
    with receiver_of([away]) as receiver, Meter(receiver.url, source="app") as meter:
        meter.record("llm")
        receiver.wait_for(1)
        refused_s = time.monotonic()
        receiver.wait_for(1)
        assert time.monotonic() - refused_s > 0.9


def test_what_is_refused_is_counted_said_and_not_sent_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = [{"index": 1, "field": "kind", "reason": "invalid_field", "detail": "is no kind"}]
    script = [Answer(202, {"refusals": refused}), Answer(413, {"detail": "too large"})]
    with (
        caplog.at_level(logging.WARNING, "odometer.meter"),
        receiver_of(script) as receiver,
        Meter(receiver.url, source="app", linger_s=QUICK_S) as meter,
    ):
        meter.record("llm")
        meter.record("nonsense")
        assert meter.flush(30)
        assert meter.counts == (1, 1, 0, 0)
        meter.record("llm")
        assert meter.flush(30)
        meter.record("llm", labels={"a": object()})
        meter.record("llm", model="m" * 70_000)
        meter.record("llm", output_tokens=1)
        assert meter.flush(30)
        assert meter.counts == (2, 4, 0, 0)
    assert len(receiver.bodies) == 3
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "0 events dropped, 1 refused, 0 waiting: kind: is no kind"
    assert len(said) == 2  # the second at the end: once a minute
    assert said[1].startswith("0 events dropped, 4 refused, 0 waiting: cannot be sent as an event")


def test_one_event_that_cannot_be_read_takes_no_other_with_it() -> None:
    """As one that is nested too deep: the ingest answers 400 to the body that it is in."""
    with receiver_of([]) as receiver:
        receiver.never = "bad"
        with Meter(receiver.url, source="app") as meter:
            for number in range(1000):
                meter.record("llm", id="bad" if number == 321 else f"good-{number}")
            assert meter.flush(30)
            assert meter.counts == (999, 1, 0, 0)
    assert len(set(receiver.ids)) == len(receiver.ids) == 999
    assert len(receiver.bodies) < 25


def test_a_full_queue_drops_and_says_so_and_never_waits(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "odometer.meter"):
        meter = Meter(f"http://127.0.0.1:{free_port()}", source="app", queue_max=100, close_s=0.2)
        started_s = time.monotonic()
        for _ in range(5000):
            meter.record("llm")
        assert time.monotonic() - started_s < 1
        assert meter.counts.dropped >= 3900  # one batch may be in the thread's hand
        assert not meter.flush(QUICK_S)
        meter.close()
        meter.record("llm")
        counts = meter.counts
        assert counts == (0, 0, 5001, 0)
        assert meter.flush(QUICK_S)  # nothing is on its way any more
    said = caplog.records[-1].getMessage()
    assert said.startswith("5000 events dropped, 0 refused, 0 waiting: http://127.0.0.1:")
    assert "Connection refused" in said


def test_a_receiver_that_comes_back_gets_all_that_waited() -> None:
    port = free_port()
    # Long enough that a busy machine records a whole batch before the first attempt.
    meter = Meter(f"http://127.0.0.1:{port}", source="app", linger_s=5)
    sent = [meter.record("llm") for _ in range(2500)]
    with receiver_of([], port) as receiver:
        assert meter.flush(30)
        meter.close()
    assert receiver.ids == sent
    assert len(receiver.bodies) == 3


def test_what_comes_while_a_batch_is_sent_gathers_to_the_next() -> None:
    with receiver_of([]) as receiver, Meter(receiver.url, source="app", linger_s=0.1) as meter:
        ending_s = time.monotonic() + 1
        while time.monotonic() < ending_s:
            meter.record("llm")
            time.sleep(0.001)
        assert meter.flush(30)
    assert len(receiver.bodies) < 15


def test_threads_share_a_meter() -> None:
    with receiver_of([]) as receiver, Meter(receiver.url, source="app") as meter:
        made: list[str] = []
        threads = [
            threading.Thread(target=lambda: made.extend(meter.record("llm") for _ in range(2000)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert meter.flush(30)
    assert len(set(made)) == 8000
    assert Counter(receiver.ids) == Counter(made)


async def test_coroutines_wait_without_holding_the_loop() -> None:
    with receiver_of([Answer(503, {}, (("retry-after", "1"),))]) as receiver:
        async with Meter(receiver.url, source="app") as meter:
            meter.record("llm")
            turns = 0
            waiting = asyncio.create_task(meter.flushed(30))
            while not waiting.done():
                turns += 1
                await asyncio.sleep(QUICK_S)
            assert await waiting
            assert turns > 20
            last = meter.record("llm")
    assert receiver.ids[-1] == last


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:3400", "ftp://host/", "http://", "kafka:///usage.events"]
)
def test_a_url_that_is_none_of_ours_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidConfig, match="http://HOST:PORT"):
        Meter(url, source="app")
    with pytest.raises(InvalidConfig, match="source is empty"):
        Meter("http://127.0.0.1:1", source="")


def test_an_answer_of_a_library_is_read_here_and_its_texts_stay_here() -> None:
    payload = fixture("openai/chat")
    with (
        receiver_of([]) as receiver,
        Meter(receiver.url, source="app", common={"agent_id": "a"}) as meter,
    ):
        meter.record_from(payload, call_id="c-1", latency_ms=12)
        meter.record_from({"nothing": "we know"})
        meter.record_from(object())
        assert meter.flush(30)
        assert meter.counts == (1, 2, 0, 0)
    ((event,),) = receiver.bodies
    assert event["id"] == payload["id"]
    assert event["input_tokens"] == payload["usage"]["prompt_tokens"]
    assert (event["source"], event["agent_id"], event["call_id"], event["latency_ms"]) == (
        "app", "a", "c-1", 12
    )  # fmt: skip
    assert "choices" not in event


def test_the_readme_s_three_lines_do_what_it_says() -> None:
    readme = (CHECKOUT / "streams" / "meter" / "README.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?meter\.record\(.*?)```", readme, re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) == 3
    lines = lines.replace("from odometer import", "from streams.meter import")
    with receiver_of([]) as receiver:
        run(lines.replace("http://127.0.0.1:3400", receiver.url))
    (((event,), headers),) = zip(receiver.bodies, receiver.headers, strict=True)
    assert (event["source"], event["agent_id"], event["input_tokens"]) == (
        "voice-agent", "my-agent", 1200
    )  # fmt: skip
    assert headers["authorization"] == "Bearer als_..."


# -- processes -------------------------------------------------------------------------------------


def run(program: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=CHECKOUT,
        env=plain_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_what_is_queued_at_the_end_of_a_process_is_sent() -> None:
    program = """
        import sys
        from streams.meter import Meter
        meter = Meter(sys.argv[1], source="app", linger_s=60)
        for _ in range(1500):
            print(meter.record("llm"))
    """
    with receiver_of([Answer(503)]) as receiver:
        made = run(program, receiver.url).split()
    assert receiver.ids == made
    assert len(made) == 1500


def test_an_app_ends_in_time_where_nobody_answers() -> None:
    program = """
        import logging, sys
        from streams.meter import Meter
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        meter = Meter(sys.argv[1], source="app", close_s=0.5)
        meter.record("llm")
    """
    started_s = time.monotonic()
    said = run(program, f"http://127.0.0.1:{free_port()}")
    assert said.startswith("1 events dropped, 0 refused, 0 waiting: ")
    assert time.monotonic() - started_s < 10


def test_forked_children_send_their_own_and_nothing_twice() -> None:
    """As gunicorn does it: made and used before the fork, used by parent and children."""
    program = """
        import os, sys
        from streams.meter import Meter
        meter = Meter(sys.argv[1], source="app", linger_s=60)
        ids = [meter.record("llm") for _ in range(10)]
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                ids, children = [], []
                break
            children.append(child)
        ids += [meter.record("llm") for _ in range(20)]
        print("\\n".join(ids), flush=True)
        if children:
            for child in children:
                assert os.waitpid(child, 0)[1] == 0
    """
    with receiver_of([]) as receiver:
        made = run(program, receiver.url).split()
    assert len(set(made)) == 10 + 4 * 20
    assert Counter(receiver.ids) == Counter(made)


def test_an_app_that_sends_over_http_loads_no_other_client() -> None:
    program = """
        import sys
        from streams.meter import Meter
        Meter("http://127.0.0.1:1", source="app").record
        print(*sorted({"aiokafka", "google", "pydantic", "numpy", "redis", "starlette", "xxhash"} & set(sys.modules)))
    """
    assert run(program).strip() == ""


# -- Kafka -----------------------------------------------------------------------------------------


@pytest.mark.servers
def test_to_kafka_each_event_has_the_key_that_keeps_its_call_together(
    kafka: Server, topic: str
) -> None:
    make_topic(kafka, topic)
    program = """
        import sys
        from streams.meter import Meter
        meter = Meter(sys.argv[1], source="app")
        meter.record("llm", id="e-1")
        meter.record("llm", id="e-2", call_id="c", tenant="acme")
    """
    # By name, which takes a look-up, at the end of a process that had no time to make one.
    run(program, f"kafka://localhost:{kafka.port}/{topic}")
    records = asyncio.run(read_log(kafka.address, topic))
    assert {(record.key, json.loads(record.value or b"")["id"]) for record in records} == {
        (b"default|app|e-1", "e-1"),
        (b"acme|c", "e-2"),
    }


@pytest.mark.servers
def test_a_broker_killed_under_the_meter_loses_nothing(own_kafka: Server, topic: str) -> None:
    make_topic(own_kafka, topic)
    made: list[str] = []
    with Meter(
        f"kafka://{own_kafka.address}/{topic}", source="app", linger_s=QUICK_S, close_s=60
    ) as meter:
        made += [meter.record("llm") for _ in range(500)]
        assert meter.flush(30)
        ending = threading.Event()

        def busy() -> None:
            while not ending.wait(0.002):
                made.append(meter.record("llm"))

        app = threading.Thread(target=busy)
        app.start()
        for how in (own_kafka.kill, own_kafka.pause):
            how()
            wait_until_queued(meter, 200)
            own_kafka.restart()
            wait_until_queued(meter, 0)
        ending.set()
        app.join()
        assert meter.flush(30)
        own_kafka.restart()  # while nothing is sent
        made.append(meter.record("llm"))
    assert meter.counts == (len(made), 0, 0, 0)
    records = asyncio.run(read_log(own_kafka.address, topic))
    found = {json.loads(record.value or b"")["id"] for record in records}
    assert found == set(made)


def make_topic(kafka: Server, topic: str) -> None:
    asyncio.run(
        ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=2)
    )


def wait_until_queued(meter: Meter, events: int) -> None:
    """At least so many, or none."""
    give_up_s = time.monotonic() + 60
    while meter.counts.queued < events if events else meter.counts.queued > 50:
        assert time.monotonic() < give_up_s, meter.counts
        time.sleep(0.02)
