"""The panel Operations in a real browser, over a real Kafka: an admin sees, corrects and replays a dead letter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.app.main import wall_clock_ms
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from schemas.units import iso
from streams.core.dead_letters import DeadLetter, dead_letter_record
from streams.kafka.producer import open_producer
from streams.kafka.topics import ensure_topics
from streams.worker.settings import WorkerSettings
from tests.api.counters import Event
from tests.browser.chromium import BROWSER_LOOP, OpenPage
from tests.browser.sites import Site, signed_in, until, wrong
from tests.oracles.event_logs import encode, event
from tests.real.harness.api_process import api_of
from tests.real.harness.topics import read_log

pytestmark = [BROWSER_LOOP, pytest.mark.servers]


@pytest_asyncio.fixture(loop_scope="session")
async def counting(
    kafka: Server, redis_url: str, topic: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """An API with Kafka, and two dead letters: acme's and beta's."""
    dead, now_ms = f"{topic}.dead", wall_clock_ms()
    await ensure_topics(kafka.address, events=topic, dead_letter=dead, partitions=1)
    letters = [
        DeadLetter(
            f"{topic}:0:{n}",
            now_ms - n,
            "invalid_field",
            "model",
            "Input should be a valid string",
            encode(event(id=f"e-{n}", tenant=tenant, model=7, time=iso(now_ms))),
            (),
        )
        for n, tenant in enumerate(("acme", "beta"))
    ]
    async with open_producer(kafka.address) as producer:
        await producer.send_records(dead, [dead_letter_record(one) for one in letters])
    key = await create_key(redis_url, name="admin", tenant="acme", role="admin")
    settings = WorkerSettings(kafka=kafka.address, redis=redis_url, topic=topic)
    with api_of(settings, tmp_path, "--dead-letter-topic", dead) as server:
        found = Site(f"http://{server.address}", redis_url, key, [Event(now_ms - 1)], topic=topic)
        found.write()
        yield found


async def test_a_dead_letter_is_seen_corrected_and_replayed(
    counting: Site, kafka: Server, open_page: OpenPage
) -> None:
    watched = await signed_in(counting, open_page)
    page = watched.page
    await page.locator("#ops").scroll_into_view_if_needed()
    await page.wait_for_selector("#letters tbody tr")
    assert await page.locator("#letters tbody tr").count() == 1
    assert "beta" not in await page.locator("#ops").inner_text()
    assert "1 record could not be counted" in await page.locator("#letters-summary").inner_text()
    assert "counted" in await page.locator("#ops-summary").inner_text()
    await page.wait_for_selector("#ops-keys tbody tr")
    assert "admin" in await page.locator("#ops-keys").inner_text()

    await page.get_by_role("button", name="View").click()
    said = page.locator("#letter-said")
    await until(watched, "() => document.getElementById('letter-said')")
    assert "would be rejected: model" in await said.inner_text()
    text = await page.locator("#letter-value").input_value()
    assert await watched.axe_violations() == []
    await page.fill("#letter-value", text.replace('"model": 7', '"model": "gpt-4o"'))
    await page.get_by_role("button", name="Check").click()
    await until(
        watched,
        "() => /would count as acme/.test(document.getElementById('letter-said').textContent)",
    )
    assert await read_log(kafka.address, counting.topic) == []
    await page.get_by_role("button", name="Replay").click()
    await until(
        watched, "() => /^Sent as acme/.test(document.getElementById('letter-said').textContent)"
    )
    (record,) = await read_log(kafka.address, counting.topic)
    assert b'"gpt-4o"' in (record.value or b"")
    await page.get_by_role("button", name="Close").click()
    await until(watched, "() => /sent/.test(document.querySelector('#letters tbody').textContent)")
    assert wrong(watched) == []
