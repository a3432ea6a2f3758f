"""Serves `/metrics`, `/livez`, `/readyz` and `/startupz` in threads of its own, without a key.

Threads answer even while the event loop of the process is busy or stuck. So a probe can say so, and a
scrape never waits for a batch. The numbers are collected when somebody asks.
"""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from schemas.errors import InvalidConfig

Probe = Callable[[], Mapping[str, object]]
"""Returns what a probe answers. `ok` decides its status: 200 or 503."""
WsgiAnswer = Iterable[bytes]

PORTS_TRIED_MAX: Final = 100
"""From the wanted port on. More processes of one kind on one machine get a port by their settings."""
THREADS_MAX: Final = 16
"""Requests at once. A scraper and an orchestrator send one or two; more are closed at once."""
REQUEST_S: Final = 10
"""A client that sends its request more slowly is disconnected."""
METRICS: Final = "/metrics"
LOCALHOST: Final = "localhost"


class MonitorServer(ThreadingMixIn, WSGIServer):
    """A running monitor. `stop` ends it; it also ends with its process."""

    daemon_threads = True
    request_queue_size = THREADS_MAX

    def __init__(
        self, host: str, port: int, registry: Collector, probes: Mapping[str, Probe]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = threading.Semaphore(THREADS_MAX)
        super().__init__((host, port), _Handler)
        self.set_app(_application(registry, probes, is_local=_is_loopback(host)))
        self._thread = threading.Thread(
            target=self.serve_forever, name="odometer-monitor", daemon=True
        )
        self._thread.start()

    def server_bind(self) -> None:
        """As its parent, which also asks the name service for the name of the host: that may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Says nothing: the client has gone."""

    @property
    def url(self) -> str:
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def serve_monitor(
    host: str, port: int, registry: CollectorRegistry, probes: Mapping[str, Probe]
) -> MonitorServer:
    """Listens on `port`, or on the next free one. Raises InvalidConfig if there is none, or the host
    is not an address of this machine."""
    why = ""
    for tried in range(port, min(port + PORTS_TRIED_MAX, 65_536)):
        try:
            return MonitorServer(host, tried, registry, probes)
        except socket.gaierror as error:
            raise InvalidConfig(_wrong_host(host, str(error.strerror))) from error
        except OSError as error:
            why = str(error.strerror)
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise InvalidConfig(_wrong_host(host, str(error.strerror))) from error
    raise InvalidConfig(
        f"ODOMETER_MONITOR_PORT is {port}, and none of the {PORTS_TRIED_MAX} ports from there on can be"
        f" used: {why}. Choose another one."
    )


def _wrong_host(host: str, why: str) -> str:
    return (
        f"ODOMETER_MONITOR_HOST is {host!r}, and the monitor cannot listen there: {why}. Use an address"
        " of this machine, such as 127.0.0.1 or 0.0.0.0."
    )


def _application(
    registry: Collector, probes: Mapping[str, Probe], *, is_local: bool
) -> Callable[..., WsgiAnswer]:
    """`is_local`: it listens on loopback, so no other name than that of loopback is its own. A page of another
    server could lead a browser on this machine here by a name of that page's (DNS rebinding), and read the
    metrics."""
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., object]) -> WsgiAnswer:
        path = environ["PATH_INFO"]
        if is_local and not _is_loopback(_name_in(environ.get("HTTP_HOST", LOCALHOST))):
            said = {"ok": False, "reason": "the header `host` names another machine"}
            return _json(start_response, "421 Misdirected Request", said)
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            said = {"ok": False, "reason": "the method is not GET"}
            return _json(start_response, "405 Method Not Allowed", said)
        if path == METRICS:
            environ["REQUEST_METHOD"] = "GET"  # as HEAD, without a body: the handler leaves it out
            found: WsgiAnswer = metrics(environ, start_response)
            return found
        if path not in probes:
            paths = ", ".join([METRICS, *probes])
            said = {"ok": False, "reason": f"there is no page {path}: the pages are {paths}"}
            return _json(start_response, "404 Not Found", said)
        body = probes[path]()
        return _json(start_response, "200 OK" if body["ok"] else "503 Service Unavailable", body)

    return answer


def _name_in(host: str) -> str:
    """The name or address in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host.lower() == LOCALHOST:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _json(
    start_response: Callable[..., object], status: str, body: Mapping[str, object]
) -> WsgiAnswer:
    data = json.dumps(body).encode() + b"\n"
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(data))),
        ("cache-control", "no-store"),
    ]
    start_response(status, headers)
    return [data]


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as its parent has it
        """Logs nothing: a probe each second would fill the log."""
