"""Fixtures of a real browser: one headless Chromium for a pytest process, and pages of it for each test.

A test of the browser is `async` and asks for `open_page`. Its module says once that it runs in the loop of
the browser: `pytestmark = BROWSER_LOOP`. Where there is no Chromium, such tests are skipped, and the end
of the run lists them with the command that installs one. CI has one always (`.ci/run`).
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

BROWSER_LOOP: Final = pytest.mark.asyncio(loop_scope="session")
NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
MISSING: Final = (
    "Chromium is not installed (Debian: apt-get install chromium; macOS: brew install chromium)"
)
TIMEOUT_MS: Final = 30_000
"""Limit of one step on the busiest machine; a step waits only as long as it must."""
NOTE_VIOLATIONS: Final = """
document.addEventListener("securitypolicyviolation", (event) => {
  noteViolation(event.violatedDirective + " " + event.blockedURI + " " + event.sourceFile);
});
"""


@dataclass
class WatchedPage:
    """A page of the browser, and what went wrong in it.

    `errors`: console errors and exceptions that no script caught. `violations`: what the content security
    policy blocked. `failed`: status and URL of each answer from 400 on, and requests that failed.
    The browser also logs a console error for each of `failed`; those are not in `errors`.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return [*self.errors, *self.violations, *self.failed]

    async def watch(self) -> None:
        await self.page.expose_function("noteViolation", self._note_violation)
        await self.page.add_init_script(NOTE_VIOLATIONS)
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", lambda one: self.failed.append(f"failed {one.url}"))
        self.page.on("response", self._note_response)

    async def axe_violations(self) -> list[str]:
        """What axe finds, in the whole page as it is now: rule, and the first elements that break it."""
        results = await Axe().run(self.page)
        return [
            f"{rule['id']}: {rule['help']}: {[one['html'][:200] for one in rule['nodes'][:3]]}"
            for rule in results.response["violations"]
        ]

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(f"{message.text} ({message.location['url']})")

    def _note_violation(self, violation: str) -> None:
        self.violations.append(violation)

    def _note_response(self, response: Any) -> None:
        if response.status >= 400:
            self.failed.append(f"{response.status} {response.url}")


OpenPage = Callable[..., Awaitable[WatchedPage]]
"""`await open_page(url, **options)`: a page with a context of its own, at `url`; "": an empty one. The
options are those of playwright's `new_context`, such as `viewport`, `locale` or `color_scheme`."""


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(MISSING)
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """The browser of this pytest process."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens pages. Each has its own cookies and storage, and is closed with the test."""
    contexts: list[BrowserContext] = []

    async def open_one(url: str = "", **options: Any) -> WatchedPage:
        context = await browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        watched = WatchedPage(await context.new_page())
        await watched.watch()
        if url:
            await watched.page.goto(url)
        return watched

    yield open_one
    for context in contexts:
        await context.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Lists the tests that were left out because there is no browser."""
    skipped = [
        one for one in terminalreporter.stats.get("skipped", ()) if MISSING in str(one.longrepr)
    ]
    if skipped:
        terminalreporter.section("left out without a browser")
        terminalreporter.write_line(f"{MISSING}. {len(skipped)} tests were left out:")
        for report in skipped:
            terminalreporter.write_line(f"  {report.nodeid}")
