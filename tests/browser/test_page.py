"""The page at `/` in a real browser: its numbers are the API's, and a person can use it."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from api.app.main import wall_clock_ms
from deploy.local.api_keys import create_key
from tests.api.conftest import revoke
from tests.api.counters import Event
from tests.browser.chromium import BROWSER_LOOP, OpenPage
from tests.browser.sites import Site, signed_in, tile, until, wrong

pytestmark = BROWSER_LOOP

SHIFTS: Final = """() => new Promise((done) => new PerformanceObserver((list) =>
  done(list.getEntries().filter((one) => !one.hadRecentInput).map((one) => one.value)))
  .observe({ type: "layout-shift", buffered: true }) || setTimeout(() => done([]), 300))"""


async def test_the_panels_show_the_numbers_of_the_api(page_site: Site, open_page: OpenPage) -> None:
    watched = await signed_in(page_site, open_page)
    page = watched.page
    whole = await page_site.ask(
        measures="requests,cost_usd,cost_coverage,input_tokens,p95_latency_ms"
    )
    totals = whole["totals"]
    assert await tile(watched, "Requests") == str(totals["requests"]) == "100"
    assert await tile(watched, "Cost") == f"${totals['cost_usd']:.2f}"
    assert "75% priced" in await page.locator(".tile").nth(1).inner_text()
    assert await tile(watched, "Latency p95") == f"{round(totals['p95_latency_ms'])} ms"
    rows = (await page_site.ask(measures="requests", group_by="model", order_by="-requests"))[
        "rows"
    ]
    shown = await page.locator("#rows tbody tr").all_inner_texts()
    assert {line.split()[0]: line.split()[2] for line in shown} == {
        row["model"]: str(row["requests"]) for row in rows
    }
    legend = await page.locator("#main-legend li").all_inner_texts()
    assert sum(int(one.split()[-1]) for one in legend) == totals["requests"]
    await page.wait_for_selector("#call-rows thead")
    assert sum(await page.evaluate(SHIFTS)) < 0.01
    await page.locator("#main-table-toggle").click()
    series = await page_site.ask(measures="requests", group_by="model", granularity="15m")
    cells = await page.locator("#main-table td").all_inner_texts()
    assert sum(map(int, cells)) == sum(row["requests"] for row in series["rows"]) == 100
    assert "100 in all" in await page.locator("#main-summary").inner_text()
    assert wrong(watched) == []


async def test_numbers_arrive_by_themselves(page_site: Site, open_page: OpenPage) -> None:
    watched = await signed_in(page_site, open_page)
    page_site.write(Event(at_ms=wall_clock_ms() - 1, model="m-new"))
    await until(watched, "() => document.querySelector('.tile .value').textContent === '101'")
    await until(watched, "() => document.getElementById('rows').textContent.includes('m-new')")
    await watched.page.keyboard.press("Space")  # paused
    page_site.write(Event(at_ms=wall_clock_ms() - 1, model="m-new"))
    await until(watched, "() => document.body.classList.contains('paused')")
    await watched.page.keyboard.press("Space")
    await until(watched, "() => document.querySelector('.tile .value').textContent === '102'")
    assert wrong(watched) == []


async def test_what_is_not_fresh_is_said_with_the_command_that_helps(
    page_site: Site, open_page: OpenPage
) -> None:
    watched = await signed_in(page_site, open_page)
    page = watched.page
    fresh_ms = -120_000  # no worker moves complete_through on, and the machine may be slow
    for level, behind_ms in (
        ("green", fresh_ms),
        ("amber", 15_000),
        ("red", 600_000),
        ("green", fresh_ms),
    ):
        page_site.write(behind_ms=behind_ms)
        await page.wait_for_selector(f"#freshness.{level}")
        assert await page.locator("#notice").is_visible() == (level != "green")
    page_site.write(behind_ms=600_000)
    await page.wait_for_selector("#freshness.red")
    assert await page.locator("#notice code").inner_text() == "odometer worker"
    assert "odometer worker" in await page.locator("#announce").inner_text()
    assert re.search(r"complete to \d\d:\d\d:\d\d", await page.locator("#fresh-text").inner_text())
    assert wrong(watched) == []


async def test_filters_and_the_back_button(page_site: Site, open_page: OpenPage) -> None:
    watched = await signed_in(page_site, open_page)
    page = watched.page
    await page.locator("#rows").get_by_role("button", name="m1", exact=True).click()
    await until(watched, "() => document.querySelector('.tile .value').textContent === '25'")
    assert "model=m1" in page.url
    assert (await page.locator(".chip").inner_text()).startswith("model: m1")
    one = await page_site.ask(measures="requests", model="m1")
    assert await tile(watched, "Requests") == str(one["totals"]["requests"])
    await page.go_back()
    await until(watched, "() => document.querySelector('.tile .value').textContent === '100'")
    assert await page.locator(".chip").count() == 0
    await page.keyboard.press("/")
    await page.keyboard.type("m2")
    await page.keyboard.press("Enter")
    await until(watched, "() => document.querySelector('.tile .value').textContent === '25'")
    link = page.url
    again = await signed_in(page_site, open_page, link.removeprefix(page_site.url))
    assert await tile(again, "Requests") == "25"
    assert wrong(watched) + wrong(again) == []


async def test_the_keyboard_is_enough(page_site: Site, open_page: OpenPage) -> None:
    watched = await signed_in(page_site, open_page)
    page = watched.page
    await page.keyboard.press("1")
    await page.wait_for_url("**range=15m*")
    await page.keyboard.press("c")
    await page.wait_for_url("**compare=0*")
    await page.keyboard.press("g")
    await page.wait_for_url("**by=provider*")
    await page.keyboard.press("2")
    await page.wait_for_url("**range=1h*")
    await page.wait_for_selector("#rows .row")
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    picked = await page.evaluate("document.activeElement.dataset.key")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**model={picked}*")
    await page.keyboard.press("?")
    assert await page.locator("#help").is_visible()
    await page.keyboard.press("Escape")
    assert wrong(watched) == []


async def test_a_key_is_typed_once_and_its_end_signs_out(
    page_site: Site, open_page: OpenPage
) -> None:
    watched = await open_page(page_site.url)
    page = watched.page
    await page.fill("#key", "als_wrong")
    await page.keyboard.press("Enter")
    await until(watched, "() => document.getElementById('sign-in-error').textContent")
    await page.fill("#key", page_site.key)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("body.has-numbers")
    assert page_site.key not in await page.evaluate(
        "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, location.href])"
    )
    await page.reload()
    await page.wait_for_selector("body.has-numbers")
    await revoke(page_site.redis_url, page_site.key)
    await page.wait_for_selector("#sign-in:not([hidden])")
    assert watched.violations + watched.errors == []
    assert all(one.startswith("401 ") for one in wrong(watched))


async def test_a_tenant_without_events_is_shown_how_to_send_one(
    page_site: Site, open_page: OpenPage
) -> None:
    page_site.key = await create_key(
        page_site.redis_url, name="new", tenant="nobody", role="member"
    )
    watched = await signed_in(page_site, open_page)
    page = watched.page
    await page.wait_for_selector("#empty:not([hidden])")
    assert wrong(watched) == []
    assert await page.locator("#empty article").count() == 3
    page_site.write(Event(at_ms=wall_clock_ms() - 1, tenant="nobody"))
    await page.wait_for_selector("#empty", state="hidden")
    assert await tile(watched, "Requests") == "1"


async def test_axe_finds_nothing_in_light_and_dark(page_site: Site, open_page: OpenPage) -> None:
    for scheme in ("light", "dark"):
        watched = await signed_in(page_site, open_page, color_scheme=scheme)
        await watched.page.locator("#main-table-toggle").click()
        assert await watched.axe_violations() == [], scheme
        page_site.write(behind_ms=600_000)
        await watched.page.wait_for_selector("#freshness.red")
        assert await watched.axe_violations() == [], scheme
        page_site.write()
        out = await open_page(page_site.url, color_scheme=scheme)
        await out.page.wait_for_selector("#sign-in:not([hidden])")
        assert await out.axe_violations() == [], scheme


async def test_each_size_fits_its_screen(page_site: Site, open_page: OpenPage) -> None:
    async def check(width: int, path: str) -> None:
        watched = await signed_in(
            page_site, open_page, path, viewport={"width": width, "height": 900}
        )
        assert await watched.page.evaluate("document.documentElement.scrollWidth") <= width
        assert await watched.page.locator("#main-chart canvas").is_visible()
        assert wrong(watched) == []

    await asyncio.gather(*(check(*one) for one in ((390, "/"), (820, "/"), (1920, "/?kiosk"))))
