"""What LiteLLM 1.110 reported when it ran, where its numbers and names are not the provider's."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.schemas.formats.fixtures import fixture, read

RESPONSE = "resp_0123456789abcdef0123456789abcdef"
WRAPPED = "resp_" + base64.b64encode(
    b"litellm:custom_llm_provider:openai;model_id:None;response_id:" + RESPONSE.encode()
).decode()  # fmt: skip


def test_a_response_that_litellm_names_anew_keeps_the_providers_id() -> None:
    """LiteLLM 1.110 gives the app, and its loggers, an id with names of its own around the provider's."""
    callback = {**fixture("litellm/chat"), "id": WRAPPED, "call_type": "aresponses"}
    body: dict[str, Any] = {
        "id": WRAPPED,
        "object": "response",
        "status": "completed",
        "model": "gpt-4o",
    }
    body["usage"] = {"input_tokens": 1, "output_tokens": 1}
    for one in (callback, body, {**body, "id": RESPONSE}):
        assert read(one).events[0].fields["id"] == RESPONSE


@pytest.mark.parametrize(
    "name", ["resp_bGl0ZWxsb", "resp_bGl0ZWxsbTp4", "resp_bGl0ZWxsbT%%", WRAPPED[:-4] + "AAAA"]
)
def test_an_id_that_only_looks_like_litellms_stays(name: str) -> None:
    body: dict[str, Any] = {
        "id": name,
        "object": "response",
        "status": "completed",
        "model": "gpt-4o",
    }
    body["usage"] = {"input_tokens": 1, "output_tokens": 1}
    assert read(body).events[0].fields["id"].startswith("resp_")


def test_a_cost_of_zero_for_no_number_is_none_that_litellm_knows() -> None:
    """Of a transcript it reads no seconds where the answer has them in `usage`: 61 s cost nothing."""
    transcript = fixture("litellm/transcription")
    assert transcript["response_cost"] == 0
    assert "cost_usd" not in read(transcript).events[0].fields
    assert read({**transcript, "cache_hit": True}).events[0].fields["cost_usd"] == "0.0"
    local = {**fixture("litellm/chat"), "response_cost": 0}
    assert read(local).events[0].fields["cost_usd"] == "0"
