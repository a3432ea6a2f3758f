"""The monitor answers from threads of its own: metrics in both formats, and probes with a reason."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from deploy.local.servers import free_port
from deploy.monitor.process import MonitorSettings
from deploy.monitor.server import MonitorServer, serve_monitor
from schemas.errors import InvalidConfig


@contextmanager
def looping(ready: Mapping[str, object], said: list[str]) -> Iterator[MonitorServer]:
    """A monitor whose process is an event loop in a thread."""
    loop = asyncio.new_event_loop()

    async def is_ready() -> Mapping[str, object]:
        return ready

    settings = MonitorSettings("worker", "127.0.0.1", free_port(), "1.2", said.append)
    server = settings(loop, CollectorRegistry(), is_ready)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        server.stop()


def test_metrics_have_both_formats_and_the_build() -> None:
    said: list[str] = []
    with looping({"ok": True, "reason": ""}, said) as server:
        assert said == [f"metrics and probes: {server.url}/metrics, /livez, /readyz, /startupz"]
        plain = httpx.get(f"{server.url}/metrics")
        assert plain.headers["content-type"].startswith("text/plain")
        assert 'odometer_build_info{process="worker",version="1.2"} 1.0' in plain.text
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        modern = httpx.get(f"{server.url}/metrics", headers=accept)
        assert modern.headers["content-type"].startswith("application/openmetrics-text")
        assert modern.text.endswith("# EOF\n")


def test_probes_say_why() -> None:
    with looping({"ok": False, "reason": "Redis is away"}, []) as server:
        answers: dict[str, Any] = {
            path: httpx.get(server.url + path) for path in ("/livez", "/startupz", "/readyz")
        }
        assert {path: one.status_code for path, one in answers.items()} == {
            "/livez": 200,
            "/startupz": 200,
            "/readyz": 503,
        }
        assert answers["/readyz"].json()["reason"] == "Redis is away"
        assert httpx.get(server.url + "/other").status_code == 404
        assert httpx.post(server.url + "/metrics").status_code == 405


def test_a_process_that_has_not_begun_its_loop_is_alive_and_not_started() -> None:
    loop = asyncio.new_event_loop()

    async def never() -> Mapping[str, object]:
        raise AssertionError

    settings = MonitorSettings("api", "127.0.0.1", free_port(), "1.2", lambda _: None)
    server = settings(loop, CollectorRegistry(), never)
    try:
        found = {path: httpx.get(server.url + path) for path in ("/livez", "/startupz", "/readyz")}
        assert [one.status_code for one in found.values()] == [200, 503, 503]
    finally:
        server.stop()
        loop.close()


def test_a_taken_port_gives_the_next_free_one() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = serve_monitor("127.0.0.1", port, CollectorRegistry(), {})
        try:
            assert port < server.server_port < port + 100
        finally:
            server.stop()


def test_a_host_of_another_machine_is_a_sentence() -> None:
    with pytest.raises(InvalidConfig, match=r"ODOMETER_MONITOR_HOST is '192\.0\.2\.1'"):
        serve_monitor("192.0.2.1", free_port(), CollectorRegistry(), {})


def test_on_loopback_only_names_of_loopback_are_answered() -> None:
    """A page of another server can give its own name this address, and ask as its own origin."""
    with looping({"ok": True, "reason": ""}, []) as server:
        port = server.server_port
        for host, status in {
            f"127.0.0.1:{port}": 200,
            f"LOCALHOST:{port}": 200,
            "localhost": 200,
            "[::1]:9": 200,
            f"evil.test:{port}": 421,
            "127.0.0.1.evil.test": 421,
            "192.0.2.1": 421,
            "": 421,
        }.items():
            assert httpx.get(f"{server.url}/metrics", headers={"host": host}).status_code == status
