"""Fixtures out of LangChain's streams: each chunk that an app gets.

`pip install langchain-core langchain-openai langchain-google-genai`, then run this file. A server on this
machine answers in the place of the vendors.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

from write import write

ABOUT = {"created": 1770544800, "model": "gpt-4o-2024-08-06"}
CHAT = {"id": "chatcmpl-AbCdEfGhIjKlMnOpQr01", "object": "chat.completion.chunk", **ABOUT}
RESPONSE = {
    "id": "resp_0123456789abcdef0123456789abcdef",
    "object": "response",
    "created_at": ABOUT["created"],
    "model": ABOUT["model"],
    "status": "in_progress",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 20,
    "total_tokens": 1020,
    "prompt_tokens_details": {"cached_tokens": 600},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def chat() -> Iterator[dict[str, Any]]:
    for delta, ended in (({"role": "assistant", "content": "secret"}, None), ({}, "stop")):
        yield {**CHAT, "choices": [{"index": 0, "delta": delta, "finish_reason": ended}]}
    yield {**CHAT, "choices": [], "usage": USAGE}


def responses() -> Iterator[dict[str, Any]]:
    part = {"type": "output_text", "text": "secret", "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    usage = {
        "input_tokens": 500,
        "input_tokens_details": {"cached_tokens": 100},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 10},
        "total_tokens": 530,
    }
    whole = {"status": "completed", "output": [{**item, "content": [part]}], "usage": usage}
    yield {"type": "response.created", "response": RESPONSE}
    yield {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {**item, "content": []},
    }
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    yield {"type": "response.output_text.delta", **at, "delta": "secret", "logprobs": []}
    yield {"type": "response.completed", "response": {**RESPONSE, **whole}}


def gemini() -> Iterator[dict[str, Any]]:
    for said, ended in ((5, None), (9, None), (14, "STOP")):
        candidate = {"content": {"parts": [{"text": "secret"}], "role": "model"}, "index": 0}
        counts = {"promptTokenCount": 200, "candidatesTokenCount": said, "thoughtsTokenCount": 50}
        yield {
            "candidates": [candidate | ({"finishReason": ended} if ended else {})],
            "usageMetadata": {**counts, "totalTokenCount": 250 + said},
            "modelVersion": "gemini-2.5-flash",
            "responseId": "Il0taoSYJ5Cez7abcdefgh",
        }


class Vendors(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        named = [(name, made) for name, made in ANSWERS.items() if name in self.path]
        lines = [f"data: {json.dumps(one)}\n\n" for one in named[0][1]()]
        body = "".join(lines).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ANSWERS = {"chat/completions": chat, "responses": responses, "streamGenerateContent": gemini}


def main() -> None:
    from langchain_google_genai import ChatGoogleGenerativeAI
    from langchain_openai import ChatOpenAI

    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendors)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    asked: dict[str, Any] = {"model": "gpt-4o", "api_key": "none", "base_url": f"{url}/v1"}
    models = {
        "chunks_of_openai": ChatOpenAI(**asked, stream_usage=True),
        "chunks_of_responses": ChatOpenAI(**asked, use_responses_api=True),
        "chunks_of_gemini": ChatGoogleGenerativeAI(
            model="gemini-2.5-flash", api_key="none", base_url=url
        ),
    }
    for number, (name, model) in enumerate(models.items(), 1):
        config: Any = {"run_id": UUID(int=number)}
        chunks = [chunk.model_dump(mode="json") for chunk in model.stream("secret", config)]
        write("langchain", "langchain-core", name, chunks)


if __name__ == "__main__":
    main()
