"""Panels of the page in a real browser: cost, errors by class, presets, CSV, curl, zoom, kiosk, other origins."""

from __future__ import annotations

import asyncio
import csv
import json
import shlex
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from api.app.main import wall_clock_ms
from deploy.local.api_keys import create_key
from schemas.limits import DAY_MS, HOUR_MS
from tests.api.counters import Event
from tests.browser.chromium import BROWSER_LOOP, OpenPage
from tests.browser.sites import Site, signed_in, tile, until, wrong

pytestmark = BROWSER_LOOP

FAILED: Final = {"events": 1, "errors": 1}
DASHBOARD: Final = """<!doctype html><html lang="en"><title>Dashboard</title><p id="shown"></p><script>
const [api, token] = location.hash.slice(1).split("|");
fetch(`${api}/v1/usage?measures=requests&group_by=model`, { headers: { authorization: `Bearer ${token}` } })
  .then(async (answer) => { document.getElementById("shown").textContent = JSON.stringify({
    status: answer.status, complete: answer.headers.get("odometer-complete-through"), body: await answer.json() }); })
  .catch((error) => { document.getElementById("shown").textContent = `failed: ${error}`; });
</script>"""


async def test_cost_of_this_month_against_the_last(page_site: Site, open_page: OpenPage) -> None:
    now_ms = wall_clock_ms()
    page_site.write(
        *(
            Event(
                now_ms - 1 - day * DAY_MS,
                provider="openai",
                model="gpt",
                cost_nano_usd=2_000_000_000,
                input_tokens=1,
            )
            for day in range(65)
        ),
        Event(now_ms - 1, provider="new-ai", model='odd"name', input_tokens=1),
    )
    watched = await signed_in(page_site, open_page, "/?tz=UTC")
    page = watched.page
    await page.locator("#cost").scroll_into_view_if_needed()
    await page.wait_for_selector("#cost-rows tbody tr")
    month = await page_site.ask(
        measures="cost_usd", **{"from": "this_month"}, compare="previous_month", tz="UTC"
    )
    last = await page_site.ask(measures="cost_usd", **{"from": "last_month"}, tz="UTC")
    shown = await page.locator("#cost-facts dd:not(.note)").all_inner_texts()
    assert shown[:3] == [
        f"${one['totals']['cost_usd']:,.2f}" for one in (month, month["previous"], last)
    ]
    assert "the mean of the last 7 whole days" in await page.locator("#cost-summary").inner_text()
    assert float(shown[3].lstrip("$")) >= month["totals"]["cost_usd"]
    rows = await page.locator("#cost-rows tbody tr").all_inner_texts()
    assert rows[0].split()[:2] == ["openai", "gpt"]
    await page.wait_for_selector("#unpriced:not([hidden])")
    toml = await page.locator("#unpriced code").inner_text()
    assert 'provider = "new-ai"\nmodel = "odd\\"name"\nusd_per_million_input_tokens = #' in toml
    assert '"gpt"' not in toml
    assert await watched.axe_violations() == []
    assert wrong(watched) == []


async def test_a_forecast_that_is_not_known_says_why(page_site: Site, open_page: OpenPage) -> None:
    watched = await signed_in(page_site, open_page)
    await watched.page.locator("#cost").scroll_into_view_if_needed()
    await until(watched, "() => document.querySelectorAll('#cost-facts dd').length === 8")
    *_, value, why = await watched.page.locator("#cost-facts dd").all_inner_texts()
    assert (value, why) == ("\u2013", "not known: it needs usage since 7 whole days")


async def test_errors_by_class_and_cache_hits(page_site: Site, open_page: OpenPage) -> None:
    now_ms = wall_clock_ms()
    names = ["rate_limit", "rate_limit", "timeout"]
    page_site.write(*(Event(now_ms - 1, error_class=name, others=FAILED) for name in names))
    watched = await signed_in(page_site, open_page)
    page = watched.page
    await page.select_option("#timing", "classes")
    await page.wait_for_url("**timing=classes*")
    await until(
        watched, "() => /rate_limit/.test(document.getElementById('latency-legend').textContent)"
    )
    legend = await page.locator("#latency-legend li").all_inner_texts()
    answer = await page_site.ask(measures="errors", group_by="error_class", order_by="-errors")
    errors = {row["error_class"]: row["errors"] for row in answer["rows"] if row["error_class"]}
    assert {one.split()[0]: int(one.split()[1]) for one in legend} == errors
    assert errors == {"rate_limit": 2, "timeout": 1}
    await page.locator("#latency-table-toggle").click()
    cells = await page.locator("#latency-table tbody td").all_inner_texts()
    assert sum(map(int, cells)) == 3
    await page.select_option("#timing", "cache")
    await until(
        watched, "() => /cache hits/.test(document.getElementById('latency-summary').textContent)"
    )
    await page.select_option("#timing", "latency")
    await until(watched, "() => /p99/.test(document.getElementById('latency-legend').textContent)")
    whole = await page_site.ask(measures="p50_latency_ms,p99_latency_ms")
    summary = await page.locator("#latency-summary").inner_text()
    for measure, title in (("p50_latency_ms", "p50"), ("p99_latency_ms", "p99")):
        assert f"{title} {round(whole['totals'][measure])} ms" in summary
    assert wrong(watched) == []


async def test_csv_and_curl_ask_what_the_table_shows(page_site: Site, open_page: OpenPage) -> None:
    watched = await signed_in(page_site, open_page)
    page = watched.page
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown = {
        line.split()[0]: line.split()[2]
        for line in await page.locator("#rows tbody tr").all_inner_texts()
    }
    async with page.expect_download() as download:
        await page.locator("#csv").click()
    path = await (await download.value).path()
    rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    assert {row["model"]: row["requests"] for row in rows} == shown
    await page.locator("#curl").click()
    await until(watched, "() => document.getElementById('curl').textContent === 'Copied'")
    words = shlex.split(await page.evaluate("navigator.clipboard.readText()"))
    assert words[:3] == ["curl", "-s", "-H"]
    assert words[3] == "Authorization: Bearer $KEY"  # in double quotes: the shell fills it in
    async with httpx.AsyncClient(headers={"x-api-key": page_site.key}) as client:
        answer = (await client.get(words[4])).json()
    assert {row["model"]: str(row["requests"]) for row in answer["rows"]} == shown


async def test_drag_zooms_and_a_click_filters(page_site: Site, open_page: OpenPage) -> None:
    watched = await signed_in(page_site, open_page, "/?range=1h&tz=UTC")
    page = watched.page
    box = await page.locator("#main-chart .u-over").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
    await page.mouse.up()
    await page.wait_for_url("**from=*")
    asked = {name: one[0] for name, one in parse_qs(urlsplit(page.url).query).items()}
    zoomed = await page_site.ask(
        measures="requests", **{name: asked[name] for name in ("from", "to")}
    )
    number = zoomed["totals"]["requests"]
    assert 0 < number < 100
    await until(watched, f"() => document.querySelector('.tile .value').textContent === '{number}'")
    await page.go_back()
    await until(watched, "() => !location.search.includes('from=')")
    await page.locator("#main-legend button").first.click()
    await page.wait_for_selector(".chip")
    assert wrong(watched) == []


@pytest.mark.parametrize(
    ("preset", "measure", "group"),
    [
        ("agentlens", "cost_usd", "agent"),
        ("openwebui", "total_tokens", "user"),
        ("livekit", "call_minutes", "service"),
    ],
)
async def test_presets_show_the_numbers_of_their_pages(
    page_site: Site, open_page: OpenPage, preset: str, measure: str, group: str
) -> None:
    now_ms = wall_clock_ms()
    page_site.write(
        Event(
            now_ms - HOUR_MS,
            kind="call",
            service="telephony",
            others={"calls": 1, "duration_ms": 120_000, "events": 1},
        )
    )
    watched = await signed_in(page_site, open_page)
    page = watched.page
    await page.select_option("#preset", preset)
    await page.wait_for_url(f"**measure={measure}*")
    answer = await page_site.ask(
        measures=measure, group_by=group, order_by=f"-{measure}", **{"from": "now-30d"}
    )
    wanted = [row[group] or f"(no {group})" for row in answer["rows"]]
    await until(
        watched, f"() => document.querySelector('#rows thead th').textContent === '{group}'"
    )
    names = [line.split("\t")[0] for line in await page.locator("#rows tbody tr").all_inner_texts()]
    assert names[: len(wanted)] == wanted
    assert await page.locator("#measure").input_value() == measure
    assert wrong(watched) == []


async def test_a_wall_screen_shows_numbers_only(page_site: Site, open_page: OpenPage) -> None:
    size = {"width": 1920, "height": 1080}
    watched = await signed_in(page_site, open_page, "/?kiosk", viewport=size)
    page = watched.page
    assert await page.locator("#freshness").is_visible()
    assert await page.locator("#tiles").is_visible()
    assert await tile(watched, "Requests") == "100"
    for hidden in ("#ranges", "#filters", "#menu", "#calls", "#ops", "#cost"):
        assert not await page.locator(hidden).is_visible()
    page_site.write(Event(wall_clock_ms() - 1))
    await until(watched, "() => document.querySelector('.tile .value').textContent === '101'")
    assert await page.evaluate("document.documentElement.scrollHeight") <= size["height"]


async def test_nothing_moves_for_who_wants_no_motion(page_site: Site, open_page: OpenPage) -> None:
    running = "document.getAnimations().length"
    for motion, moves in (("reduce", False), ("no-preference", True)):
        watched = await signed_in(page_site, open_page, reduced_motion=motion)
        await watched.page.wait_for_selector("#call-rows")
        await watched.page.evaluate(
            "document.getElementById('call-rows').innerHTML = '<tbody><tr class=\"new\"><td>x</td></tr></tbody>'"
        )
        assert bool(await watched.page.evaluate(running)) == moves


async def test_each_chart_is_a_table_and_a_sentence(page_site: Site, open_page: OpenPage) -> None:
    watched = await signed_in(page_site, open_page)
    page = watched.page
    for chart in ("main", "latency"):
        sentence = await page.locator(f"#{chart}-summary").inner_text()
        assert sentence.endswith(".")
        toggle = page.locator(f"#{chart}-table-toggle")
        await toggle.press("Enter")
        assert await toggle.get_attribute("aria-expanded") == "true"
        titles = await page.locator(f"#{chart}-table thead th").all_inner_texts()
        legend = await page.locator(f"#{chart}-legend li span:not(.item)").all_inner_texts()
        assert titles[0] == "Time"
        assert titles[1:] == legend
        times = await page.locator(f"#{chart}-table tbody th").all_inner_texts()
        assert "not finished" in times[0]


async def test_the_empty_state_shows_three_ways(page_site: Site, open_page: OpenPage) -> None:
    watched = await signed_in(page_site, open_page, "/?model=nothing-has-this")
    assert not await watched.page.locator("#empty").is_visible()  # a filter is no empty tenant
    page_site.key = await create_key(
        page_site.redis_url, name="new", tenant="nobody", role="member"
    )
    watched = await signed_in(page_site, open_page)
    await watched.page.wait_for_selector("#empty:not([hidden])")
    titles = await watched.page.locator("#empty h3").all_inner_texts()
    assert titles == ["curl", "Python", "A file"]
    assert (
        f"{page_site.url}/v1/events" in await watched.page.locator("#empty pre").first.inner_text()
    )


async def test_a_dashboard_of_another_origin_asks_with_a_scoped_token(
    page_site: Site, open_page: OpenPage, dashboard: str
) -> None:
    async with httpx.AsyncClient(headers={"x-api-key": page_site.key}) as client:
        body = {"only": {"agent": "a1"}, "ttl_s": 60}
        token = (await client.post(f"{page_site.url}/v1/tokens", json=body)).json()["token"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(DASHBOARD)}\r\n\r\n"
        writer.write((head + DASHBOARD).encode())
        await writer.drain()
        writer.close()

    async def shown(origin: str) -> Any:
        port = urlsplit(origin).port
        async with await asyncio.start_server(serve, "127.0.0.1", port):
            watched = await open_page(f"{origin}/#{page_site.url}|{token}")
            await until(watched, "() => document.getElementById('shown').textContent")
            return await watched.page.locator("#shown").inner_text()

    answer = json.loads(await shown(dashboard))
    assert answer["status"] == 200
    assert answer["complete"]
    wanted = await page_site.ask(measures="requests", group_by="model", agent="a1")
    assert answer["body"]["rows"] == wanted["rows"]
    assert answer["body"]["totals"]["requests"] < 100
    other = dashboard.replace("127.0.0.1", "localhost")  # an origin that the setting does not name
    assert (await shown(other)).startswith("failed")
