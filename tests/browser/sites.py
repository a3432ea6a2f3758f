"""A page with counters for the tests of the browser, and what these look at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx

from api.app.main import wall_clock_ms
from api.auth.authenticate import digest_of
from api.auth.keys import opened
from api.auth.sessions import create_link
from tests.api.counters import TOPIC, Event, pack
from tests.browser.chromium import OpenPage, WatchedPage


@dataclass
class Site:
    """A signed-in page with counters; `commits` counts the writes, so the API reads again."""

    url: str
    redis_url: str
    key: str
    events: list[Event]
    commits: int = 1
    topic: str = TOPIC

    def write(self, *more: Event, behind_ms: int = 0) -> None:
        now_ms = wall_clock_ms()
        self.events += more
        self.commits += 1
        complete = now_ms - behind_ms
        pack(
            self.events,
            now_ms=now_ms,
            created_ms=now_ms - 1,
            complete_ms=(complete, complete),
            commits=self.commits,
            topic=self.topic,
        ).write(self.redis_url)

    async def ask(self, **params: Any) -> Any:
        async with httpx.AsyncClient(headers={"x-api-key": self.key}) as client:
            answer = await client.get(f"{self.url}/v1/usage", params=params)
            assert answer.status_code == 200, answer.text
            return answer.json()


async def signed_in(
    site: Site, open_page: OpenPage, path: str = "/", **options: Any
) -> WatchedPage:
    """A page that was opened with a sign-in link, once it shows numbers."""
    async with opened(site.redis_url) as store:
        link = await create_link(store, digest_of(site.key))
    watched = await open_page(f"{site.url}{path}#sign-in={link}", **options)
    await watched.page.wait_for_selector("body.has-numbers")
    return watched


def wrong(watched: WatchedPage) -> list[str]:
    """What went wrong. The page itself ends a stream when it asks another question."""
    return [one for one in watched.problems if not re.match(r"failed \S+/v1/", one)]


async def tile(watched: WatchedPage, title: str) -> str:
    found = watched.page.locator(
        ".tile", has=watched.page.get_by_role("heading", name=title, exact=True)
    )
    return await found.locator(".value").inner_text()


async def until(watched: WatchedPage, script: str) -> None:
    await watched.page.wait_for_function(script)
