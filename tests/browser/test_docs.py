"""`/docs` in a real browser: groups, one key for all, trying every sort of request, axe."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Locator, Page

from api.app.main import wall_clock_ms
from api.app.openapi import TAGS, document
from deploy.local.api_keys import create_key
from tests.api.counters import Event, pack
from tests.browser.chromium import BROWSER_LOOP, OpenPage, WatchedPage

pytestmark = BROWSER_LOOP


async def opened(open_page: OpenPage, site: str, **options: str) -> WatchedPage:
    watched = await open_page(f"{site}/docs", **options)
    await watched.page.locator("body[data-ready]").wait_for()
    return watched


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_with_all_open(open_page: OpenPage, site: str, scheme: str) -> None:
    watched = await opened(open_page, site, color_scheme=scheme)
    await watched.page.evaluate(
        "for (const one of document.querySelectorAll('details')) one.open = true"
    )
    assert await watched.axe_violations() == []
    assert watched.problems == []


async def test_operations_are_grouped_by_tag(open_page: OpenPage, site: str) -> None:
    watched = await opened(open_page, site)
    titles = await watched.page.locator("main h2").all_text_contents()
    assert titles == [*(tag for tag, _, _ in TAGS), "Problems"]
    operations = [one for methods in document()["paths"].values() for one in methods.values()]
    assert await watched.page.locator("main details").count() == len(operations)
    await watched.page.get_by_role("link", name="POST /v1/events").click()
    assert await watched.page.locator("#postEvents").get_attribute("open") is not None


async def test_one_key_is_for_every_request(open_page: OpenPage, site: str, redis_url: str) -> None:
    now_ms = wall_clock_ms()
    log = [Event(now_ms - 60_000, model="a/b", input_tokens=7)]
    pack(log, now_ms=now_ms, created_ms=now_ms, complete_ms=(now_ms,), refused=(0,)).write(
        redis_url
    )
    key = await create_key(redis_url, name="docs", tenant="acme", role="admin")
    page = (await opened(open_page, site)).page
    assert (await tried(page, "getUsage"))[0] == "401"
    await page.get_by_label("API key").fill(key)
    status, usage = await tried(page, "getUsage")
    assert status == "200"
    assert [row["model"] for row in usage["rows"]] == ["a/b"]
    status, posted = await tried(
        page, "postUsage", body='{"measures": "requests", "from": "now-1h"}'
    )
    assert (status, posted["totals"]) == ("200", {"requests": 1})
    status, values = await tried(page, "getDimension", name="model")
    assert (status, values["values"]) == ("200", [{"value": "a/b", "events": 1}])
    assert (await tried(page, "getModelOverview", id="a/b"))[0] == "200"
    status, made = await tried(page, "createKey")
    assert status == "201"
    assert (await tried(page, "revokeKey", id=made["id"]))[0] == "200"


async def tried(page: Page, operation: str, **fields: str) -> tuple[str, Any]:
    """The status and body that the page shows after these fields were filled in."""
    part: Locator = page.locator(f"#{operation}")
    await part.evaluate("part => { part.open = true; }")
    for name, text in fields.items():
        await part.locator(f"[name={name}]").fill(text)
    answer = part.locator("form + pre")
    await answer.evaluate("shown => { shown.textContent = ''; }")
    await part.get_by_role("button", name="Send").click()
    await page.wait_for_function("shown => shown.textContent", arg=await answer.element_handle())
    head, _, body = (await answer.text_content() or "").partition("\n")
    return head.split()[0], json.loads(body)
