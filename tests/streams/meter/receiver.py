"""A receiver of events over HTTP that answers as the test says, and keeps what it was sent."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """`status` 0: the connection is closed without a word, after the request was read."""

    status: int = 202
    body: dict[str, Any] = {}
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Receiver:
    """`script` is answered first, then 202. `ids` are those of the requests answered with it."""

    script: list[Answer] = field(default_factory=list)
    bodies: list[list[dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    never: str = ""
    """The id of an event for which a whole body gets a 400."""
    port: int = 0
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, requests: int) -> None:
        """Returns when so many more requests were answered."""
        for _ in range(requests):
            assert self.asked.acquire(timeout=30)


@contextmanager
def receiver_of(script: list[Answer], port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(list(script))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            events = json.loads(gzip.decompress(raw))
            receiver.bodies.append(events)
            receiver.headers.append({k.lower(): v for k, v in self.headers.items()})
            answer = receiver.script.pop(0) if receiver.script else Answer()
            if any(one["id"] == receiver.never for one in events):
                answer = Answer(400, {"detail": "no body of ours"})
            if answer.status == 202:
                receiver.ids += [one["id"] for one in events]
            if answer.status:
                body = json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in (*answer.headers, ("content-length", str(len(body)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            else:
                self.close_connection = True
            receiver.asked.release()

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Handler) as server:
        receiver.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
