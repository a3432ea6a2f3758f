"""The page's files: complete, small, unchanged where they are of others, and under a strict policy."""

from __future__ import annotations

import gzip
import hashlib
import re
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette

from api.page.endpoints import ASSETS, POLICY, routes

PAGE: Final = (ASSETS / "index.html").read_text()
MODULES: Final = sorted(path.name for path in ASSETS.glob("*.js"))
TRANSFERRED_MAX: Final = 60_000


@pytest.fixture
def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=Starlette(routes=routes()))
    return httpx.AsyncClient(transport=transport, base_url="http://odometer.test")


def named_in(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="(/page/[^"]+)"', page)


async def test_the_page_and_all_that_it_names_are_small(client: httpx.AsyncClient) -> None:
    page = await client.get("/", headers={"accept-encoding": "gzip"})
    assert page.headers["content-encoding"] == "gzip"
    sizes = [int(page.headers["content-length"])]
    for path in named_in(page.text):
        asset = await client.get(path, headers={"accept-encoding": "gzip"})
        assert asset.status_code == 200, path
        assert asset.headers["cache-control"].endswith("immutable")
        sizes.append(int(asset.headers["content-length"]))
    assert sum(sizes) < TRANSFERRED_MAX


async def test_a_page_that_is_known_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/")
    again = await client.get("/", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert first.headers["cache-control"] == "no-cache"
    assert (await client.get("/page/x/main.js")).status_code == 404


async def test_each_file_has_the_policy(client: httpx.AsyncClient) -> None:
    for path in ["/", *named_in((await client.get("/")).text)]:
        found = await client.get(path, headers={"accept-encoding": "identity"})
        assert found.headers["content-security-policy"] == POLICY
        assert found.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in POLICY


def test_the_page_has_no_script_or_style_of_its_own_and_nothing_from_elsewhere() -> None:
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src)", PAGE)
    for path in ASSETS.glob("*.*"):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://\w", text), path.name


def test_each_module_is_loaded_at_once() -> None:
    """A module that only an import names would be asked for when the one before has arrived. Those of the
    panels below wait until somebody comes near."""
    preloaded = {path.rpartition("/")[2] for path in named_in(PAGE.replace("{version}", "x"))}
    later = {*re.findall(r'import\("./([\w.]+)"\)', (ASSETS / "main.js").read_text())}
    assert preloaded == {*preloaded, *MODULES} - later
    assert later == {"cost.js", "ops.js"}


def test_a_key_is_stored_nowhere() -> None:
    for name in MODULES:
        text = (ASSETS / name).read_text()
        assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie", text), name


def test_files_of_uplot_are_those_that_were_released() -> None:
    folder = ASSETS / "uplot"
    sums: dict[str, str] = {}
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        sums[name] = digest
    assert sums.keys() == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert "MIT" in (folder / "LICENSE").read_text()
    assert len(gzip.compress((folder / "uPlot.iife.min.js").read_bytes())) < 25_000
