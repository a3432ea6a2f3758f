"""`record_from` of what the real libraries return beside answers: the log names what to pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.streams.meter.clients.conftest import Rig
from tests.streams.meter.clients.provider import SECRET

ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": SECRET}]}


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (lambda chat: chat.with_raw_response.create(**ASKED), "pass its `.parse()`"),
        (lambda chat: chat.create(**ASKED, stream=True), "pass each of its events"),
        (lambda chat: chat.stream(**ASKED), "it opens a stream"),
        (lambda chat: chat.with_streaming_response.create(**ASKED), "it opens a stream"),
    ],
)
def test_the_fix_is_named_once(rig: Rig, make: Callable[[Any], object], fix: str) -> None:
    with OpenAI(base_url=f"{rig.provider.url}/v1", api_key="k", max_retries=0) as client:
        made = make(client.chat.completions)
        for _ in range(2):
            rig.meter.record_from(made)
        assert rig.meter.flush(30)
        assert rig.meter.counts.refused == 2
        if hasattr(made, "close"):
            made.close()
    (line,) = [one for one in rig.warnings() if "cannot be read" in one]
    assert fix in line


def test_what_the_fixes_name_can_be_read(rig: Rig) -> None:
    with OpenAI(base_url=f"{rig.provider.url}/v1", api_key="k", max_retries=0) as client:
        chat = client.chat.completions
        rig.meter.record_from(chat.with_raw_response.create(**ASKED).parse())
        options: Any = {"stream_options": {"include_usage": True}}
        for chunk in chat.create(**ASKED, stream=True, **options):
            rig.meter.record_from(chunk)
        with chat.stream(**ASKED, **options) as stream:
            rig.meter.record_from(stream.get_final_completion())
    assert [one["input_tokens"] for one in rig.events()] == [1200] * 3
    assert rig.warnings() == []


async def test_an_answer_that_was_not_awaited(rig: Rig) -> None:
    client = AsyncOpenAI(base_url=f"{rig.provider.url}/v1", api_key="k", max_retries=0)
    answer = client.chat.completions.create(**ASKED)
    rig.meter.record_from(answer)
    assert await rig.meter.flushed(30)
    answer.close()
    await client.close()
    (line,) = [one for one in rig.warnings() if "cannot be read" in one]
    assert "pass `await ...`" in line
