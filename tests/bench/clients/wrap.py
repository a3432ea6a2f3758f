"""What `meter.wrap` costs its app: `python -m tests.bench.clients.wrap [--calls N]`.

It prints the CPU time that the wrap adds in the caller's thread: to a whole answer, and to a stream of
100 chunks. The client is OpenAI's real one; its transport answers from memory. Each call must be
recorded once. A whole call is timed outside and inside the wrap, so that the difference is the wrap's
own, and the median of all calls counts. Streams are compared with those of a client without the wrap:
the best of nine rounds, in turns, because other work on the machine only adds to a round.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from typing import Any

import httpx2
from openai import OpenAI

from streams.meter import Meter
from tests.streams.meter.receiver import receiver_of

ROUNDS = 9
CHUNKS = 100
USAGE = {"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500}
HEAD = {"created": 1770544800, "model": "gpt-4o-2024-08-06"}
STARTS = itertools.count(0, 1_000_000)
ASKED: Any = [{"role": "user", "content": "Say hello"}]


class Answers(httpx2.BaseTransport):
    """Answers as OpenAI does, each with an id of its own."""

    def __init__(self) -> None:
        self.number = next(STARTS)
        said = {"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}
        self._said = [self._chunk([said], None)] * CHUNKS

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.number += 1
        asked = json.loads(request.read())
        if asked.get("stream"):
            ended = self._chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}], None)
            has_usage = asked.get("stream_options") == {"include_usage": True}
            events = [*self._said, ended, *([self._chunk([], USAGE)] if has_usage else [])]
            kind, body = "text/event-stream", b"".join([*events, b"data: [DONE]\n\n"])
        else:
            message = {"role": "assistant", "content": "Hello"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {**HEAD, "id": self._id(), "object": "chat.completion",
                      "choices": [choice], "usage": USAGE}  # fmt: skip
            kind, body = "application/json", json.dumps(answer).encode()
        return httpx2.Response(200, headers={"content-type": kind}, stream=Pieces(body))

    def _id(self) -> str:
        return f"chatcmpl-{self.number:024d}"

    def _chunk(self, choices: list[Any], usage: object) -> bytes:
        event = {**HEAD, "id": self._id(), "object": "chat.completion.chunk", "choices": choices,
                 "usage": usage}  # fmt: skip
        return b"data: " + json.dumps(event).encode() + b"\n\n"


class Pieces(httpx2.SyncByteStream):
    """A body in pieces of 1 kB, as they come from a network."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Any:
        for at in range(0, len(self._body), 1024):
            yield self._body[at : at + 1024]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--calls", type=int, default=2000, help="of whole answers; a fifth are streams"
    )
    calls = parser.parse_args(words).calls
    streams = max(calls // 5 // ROUNDS, 1)
    with receiver_of([]) as receiver, Meter(receiver.url, source="bench", close_s=60) as meter:
        added = sorted(added_to_calls(meter, calls))
        median, late = added[len(added) // 2], added[len(added) * 9 // 10]
        print(f"a whole answer: {median:.0f} us added (median), {late:.0f} us (90%)")
        without, with_wrap = compare(client(), meter.wrap(client()), streams)
        print(f"a stream of {CHUNKS} chunks: {without:.0f} us without, {with_wrap:.0f} us with, "
              f"{(with_wrap - without) / CHUNKS:.1f} us added a chunk")  # fmt: skip
        assert meter.flush(60)
        assert meter.counts[1:] == (0, 0, 0), meter.counts
    recorded = [event for body in receiver.bodies for event in body]
    made = calls + ROUNDS * streams
    ids = {event["id"] for event in recorded}
    assert len(recorded) == made, f"{len(recorded)} recorded of {made}"
    assert all(event["input_tokens"] == 1200 for event in recorded)
    print(f"{made} calls, {len(recorded)} recorded, {len(ids)} ids")


def added_to_calls(meter: Meter, calls: int) -> list[float]:
    """CPU us of each call outside the wrap, less those inside it."""
    one = client()
    inside, outside = Stopwatch(one.request), Stopwatch(None)
    one.request = inside
    outside.work = meter.wrap(one).request
    one.request = outside
    for _ in range(calls):
        assert one.chat.completions.create(model="gpt-4o", messages=ASKED).usage is not None
    return [a - b for a, b in zip(outside.us, inside.us, strict=True)]


class Stopwatch:
    def __init__(self, work: Any) -> None:
        self.work = work
        self.us: list[float] = []

    def __call__(self, *words: Any, **named: Any) -> Any:
        started = time.thread_time_ns()
        answer = self.work(*words, **named)
        self.us.append((time.thread_time_ns() - started) / 1000)
        return answer


def client() -> OpenAI:
    transport = httpx2.Client(transport=Answers())
    return OpenAI(api_key="k", base_url="http://127.0.0.1:9/v1", http_client=transport)


def streamed(one: OpenAI) -> None:
    chunks = one.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)
    assert sum(1 for _ in chunks) == CHUNKS + 1


def compare(plain: OpenAI, wrapped: OpenAI, streams: int) -> tuple[float, float]:
    """CPU us a stream without and with the wrap."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for one, found in zip((plain, wrapped), times, strict=True):
            started = time.thread_time_ns()
            for _ in range(streams):
                streamed(one)
            found.append((time.thread_time_ns() - started) / 1000 / streams)
    return min(times[0]), min(times[1])


if __name__ == "__main__":
    main()
