"""A server that speaks the APIs of OpenAI, Anthropic and Google, for their real client libraries.

The bodies are those that the APIs document, with texts that no event may have (`SECRET`). A path that
begins with a status (`/429/...`) answers with that error.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "the app's own words"  # noqa: S105  no password
CREATED = 1770544800
CHAT_USAGE = {
    "prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 1000, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0},
}  # fmt: skip
RESPONSE_USAGE = {
    "input_tokens": 2048, "input_tokens_details": {"cached_tokens": 1024}, "output_tokens": 700,
    "output_tokens_details": {"reasoning_tokens": 640}, "total_tokens": 2748,
}  # fmt: skip
MESSAGE_USAGE = {
    "input_tokens": 50, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 200,
    "output_tokens": 32,
}  # fmt: skip
GEMINI_USAGE = {
    "promptTokenCount": 40, "candidatesTokenCount": 20, "thoughtsTokenCount": 30,
    "totalTokenCount": 90,
}  # fmt: skip
ERRORS: dict[int, dict[str, Any]] = {
    401: {"error": {"message": SECRET, "type": "invalid_request_error", "code": "invalid_api_key"}},
    429: {"error": {"message": SECRET, "type": "requests", "code": "rate_limit_exceeded",
                    "status": "RESOURCE_EXHAUSTED"}},
    500: {"error": {"message": SECRET, "type": "server_error", "code": None}},
    529: {"type": "error", "error": {"type": "overloaded_error", "message": SECRET}},
}  # fmt: skip


@dataclass
class Provider:
    """`gate`: streams stop before their second half until it is released. `knows_options`: whether
    `stream_options` is accepted."""

    port: int = 0
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    number: int = 0
    knows_options: bool = True
    breaks: bool = False
    """The connection is cut in the middle of a stream."""
    more: dict[str, Any] = field(default_factory=dict)
    """Fields of each chunk of a chat, beside those of the API."""
    lookups: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next_id(self, prefix: str) -> str:
        with self.lock:
            self.number += 1
            return f"{prefix}{self.number:024d}"


# -- what the APIs answer --------------------------------------------------------------------------


def chat(provider: Provider, asked: dict[str, Any]) -> Any:
    head = {"id": provider.next_id("chatcmpl-"), "created": CREATED, "model": "gpt-4o-2024-08-06",
            "service_tier": "default", "system_fingerprint": "fp_1"}  # fmt: skip
    if not asked.get("stream"):
        message = {"role": "assistant", "content": SECRET, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {**head, "object": "chat.completion", "choices": [choice], "usage": CHAT_USAGE}
    options = asked.get("stream_options")
    if options and not provider.knows_options:
        return 400, {"error": {"message": "Unknown parameter: stream_options", "type": "x"}}
    usage = {"usage": None} if options and options.get("include_usage") else {}
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": SECRET}, None),
        ({"content": SECRET}, None),
        ({}, "stop"),
    ]
    chunks = [
        {**head, "object": "chat.completion.chunk", **usage, **provider.more,
         "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in deltas
    ]  # fmt: skip
    if usage:
        last = {**head, "object": "chat.completion.chunk", "choices": [], "usage": CHAT_USAGE}
        chunks.append(last)
    return [f"data: {json.dumps(one)}\n\n" for one in chunks] + ["data: [DONE]\n\n"]


def response(provider: Provider, asked: dict[str, Any]) -> Any:
    made = {
        "id": provider.next_id("resp_"), "object": "response", "created_at": CREATED,
        "status": "completed", "model": "gpt-5.2-2025-12-11", "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "usage": RESPONSE_USAGE,
        "output": [
            {"type": "web_search_call", "id": "ws_1", "status": "completed",
             "action": {"type": "search", "query": SECRET}},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": SECRET, "annotations": []}]},
        ],
    }  # fmt: skip
    if asked.get("background"):
        return {**made, "status": "queued", "usage": None, "output": []}
    if not asked.get("stream"):
        return made
    begun: dict[str, Any] = {**made, "status": "in_progress", "usage": None, "output": []}
    item = {"item_id": "msg_1", "output_index": 1, "content_index": 0, "logprobs": []}
    begins = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress",
              "content": []}  # fmt: skip
    empty = {"type": "output_text", "text": "", "annotations": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 1, "item": begins},
        {"type": "response.content_part.added", "part": empty, **item},
        {"type": "response.output_text.delta", "delta": SECRET, **item},
        {"type": "response.output_text.delta", "delta": SECRET, **item},
        {"type": "response.completed", "response": made},
    ]
    return [
        f"event: {one['type']}\ndata: {json.dumps({**one, 'sequence_number': n})}\n\n"
        for n, one in enumerate(events)
    ]


def message(provider: Provider, asked: dict[str, Any]) -> Any:
    made = {"id": provider.next_id("msg_"), "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5-20250929", "stop_sequence": None}  # fmt: skip
    if not asked.get("stream"):
        text = [{"type": "text", "text": SECRET}]
        return {**made, "content": text, "stop_reason": "end_turn", "usage": MESSAGE_USAGE}
    begun: dict[str, Any] = {
        **made,
        "content": [],
        "stop_reason": None,
        "usage": {**MESSAGE_USAGE, "output_tokens": 1},
    }
    delta = {"type": "content_block_delta", "index": 0,
             "delta": {"type": "text_delta", "text": SECRET}}  # fmt: skip
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        delta,
        delta,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
         "usage": MESSAGE_USAGE},
        {"type": "message_stop"},
    ]  # fmt: skip
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events]


def gemini(provider: Provider, *, stream: bool) -> Any:
    name = provider.next_id("gemini-")
    said = {"content": {"parts": [{"text": SECRET}], "role": "model"}, "index": 0}
    end = {"modelVersion": "gemini-2.5-flash", "responseId": name, "usageMetadata": GEMINI_USAGE,
           "candidates": [{**said, "finishReason": "STOP"}]}  # fmt: skip
    if not stream:
        return end
    part = {**end, "candidates": [said],
            "usageMetadata": {"promptTokenCount": 40, "totalTokenCount": 40}}  # fmt: skip
    return [f"data: {json.dumps(one)}\r\n\r\n" for one in (part, part, end)]


def answer(provider: Provider, path: str, asked: dict[str, Any]) -> Any:  # noqa: PLR0911
    """A dict is JSON, bytes are audio, a list are the events of a stream, (status, dict) is an error."""
    first = path.strip("/").split("/")[0]
    if first.isdecimal():
        return int(first), ERRORS[int(first)]
    if path.endswith("/chat/completions"):
        return chat(provider, asked)
    if path.endswith("/responses"):
        return response(provider, asked)
    if "/responses/" in path:
        provider.lookups += 1
        made = response(provider, {})
        status = {"status": "in_progress", "usage": None} if provider.lookups == 1 else {}
        return {**made, **status, "id": path.rpartition("/")[2].partition("?")[0]}
    if path.endswith("/embeddings"):
        vector = {"object": "embedding", "index": 0, "embedding": "AACAPwAAAEA="}
        return {"object": "list", "model": "text-embedding-3-small", "data": [vector],
                "usage": {"prompt_tokens": 8, "total_tokens": 8}}  # fmt: skip
    if path.endswith("/audio/speech"):
        return b"\xff\xfb" * 1000
    if path.endswith("/audio/transcriptions"):
        return {"text": SECRET, "usage": {"type": "duration", "seconds": 9}}
    if path.endswith("/images/generations"):
        return {"created": CREATED, "data": [{"b64_json": "aGk="}, {"b64_json": "aGk="}],
                **({} if asked["model"] == "dall-e-3" else {"usage": {
                    "input_tokens": 50, "output_tokens": 4000, "total_tokens": 4050,
                    "input_tokens_details": {"text_tokens": 50, "image_tokens": 0}}})}  # fmt: skip
    if "/messages" in path:
        return message(provider, asked)
    if "mbedContent" in path:
        usage = {
            "promptTokenCount": 8,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
        }
        return {"embeddings": [{"values": [0.25, 0.5]}], "embedding": {"values": [0.25, 0.5]},
                **({"usageMetadata": usage} if "embedding-2" in path else {})}  # fmt: skip
    if "imagen" in path:
        return {"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": "aGk="}] * 2}
    if path.endswith(":predict"):
        told = {"token_count": 4, "truncated": False}
        made = {"embeddings": {"values": [0.25, 0.5], "statistics": told}}
        return {"predictions": [made] * len(asked["instances"])}
    if "enerateContent" in path:
        return gemini(provider, stream="streamGenerateContent" in path)
    return {"object": "list", "data": [{"id": "gpt-4o", "object": "model", "created": 1}]}


# -- the server ------------------------------------------------------------------------------------


@contextmanager
def provider_of() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            kind = self.headers.get("content-type", "")
            asked = json.loads(raw) if raw and "json" in kind else {}
            provider.requests.append((self.path, asked))
            made = answer(provider, self.path.partition("?")[0], asked)
            status, made = made if isinstance(made, tuple) else (200, made)
            if isinstance(made, list):
                self.stream(made)
                return
            body = made if isinstance(made, bytes) else json.dumps(made).encode()
            self.send_response(status)
            kind = "audio/mpeg" if isinstance(made, bytes) else "application/json"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def stream(self, events: list[str]) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream; charset=utf-8")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            half = len(events) // 2
            try:
                for number, event in enumerate(events):
                    if provider.breaks and number == half:
                        self.close_connection = True
                        return
                    data = event.encode()
                    for part in (data[:7], data[7:]):  # a client sees parts of events
                        self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                        self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
            except OSError:  # the client has closed the stream
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that closes its connection early is what some tests do."""

    with Server(("127.0.0.1", 0), Handler) as server:
        provider.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
