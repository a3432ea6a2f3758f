"""What the fixtures of the browser see: errors, blocked resources, and elements that axe rejects."""

from __future__ import annotations

import subprocess
import sys

from tests.browser.chromium import BROWSER_LOOP, MISSING, OpenPage

POLICY = """<meta http-equiv="content-security-policy" content="img-src 'none'">"""


@BROWSER_LOOP
async def test_a_page_tells_what_goes_wrong_in_it(open_page: OpenPage) -> None:
    watched = await open_page()
    await watched.page.route(
        "http://site.test/",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f"<html><head>{POLICY}</head><body><script>"
            "console.error('told'); setTimeout(() => { throw new Error('thrown'); });"
            "</script><img src='/x.png'></body></html>",
        ),
    )
    await watched.page.goto("http://site.test/", wait_until="networkidle")
    assert any("told" in one for one in watched.errors)
    assert any("thrown" in one for one in watched.errors)
    assert any("img-src" in one for one in watched.violations)
    assert any(one.startswith("image-alt") for one in await watched.axe_violations())


def test_without_a_browser_the_run_lists_what_it_left_out() -> None:
    own = f"{__file__}::{test_a_page_tells_what_goes_wrong_in_it.__name__}"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "tests.browser.chromium", own],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0
    assert f"{MISSING}. 1 tests were left out:" in run.stdout
    assert f"::{test_a_page_tells_what_goes_wrong_in_it.__name__}" in run.stdout
