"""Gemini's Interactions API: what its totals leave out, what is not final, and what it bills beside tokens.

Reported by users of tools that read it: BerriAI/litellm#33297, braintrust-sdk-javascript#2306,
agno-agi/agno#7926.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.schemas.formats.fixtures import only, read

Json = dict[str, Any]


def interaction(
    status: str = "completed", model: str = "gemini-3-flash-preview", **usage: Any
) -> Json:
    about = {"id": "v1_ChdtTjFhYVo3YkNN", "object": "interaction", "model": model}
    return {**about, "status": status, "usage": usage}


SMALL: Json = {"total_input_tokens": 8, "total_output_tokens": 2, "total_thought_tokens": 3}


def test_thoughts_are_output_that_the_total_shows() -> None:
    made = only(read(interaction(**SMALL, total_tokens=13)))
    counts = (made["input_tokens"], made["output_tokens"], made["reasoning_tokens"])
    assert counts == (8, 5, 3)
    assert "cost_problem" not in made


def test_a_total_that_contradicts_the_parts_has_no_cost_and_is_reported() -> None:
    (made,) = read(interaction(**SMALL, total_tokens=99)).events
    assert made.fields["cost_problem"]
    assert made.unknown == ("usage.total_tokens (contradicts the parts)",)


def test_images_and_audio_of_the_output_are_told() -> None:
    said = [{"modality": "image", "tokens": 1290}]
    made = only(
        read(
            interaction(
                total_input_tokens=28,
                total_output_tokens=1301,
                total_tokens=1329,
                output_tokens_by_modality=said,
            )
        )
    )
    assert (made["output_tokens"], made["output_image_tokens"]) == (1301, 1290)
    speech: Json = {"total_input_tokens": 10, "total_output_tokens": 62, "raw_prompt_token": 283}
    heard = [{"modality": "audio", "tokens": 62}]
    (made_speech,) = read(interaction(**speech, output_tokens_by_modality=heard)).events
    assert made_speech.fields["output_audio_tokens"] == 62
    assert made_speech.unknown == ()


@pytest.mark.parametrize(
    ("model", "searches"), [("gemini-3-flash-preview", 3), ("gemini-2.5-flash", 1)]
)
def test_searches_are_counted_as_google_bills_them(model: str, searches: int) -> None:
    told = [{"type": "google_search", "count": 3}, {"type": "google_maps", "count": 2}]
    made = only(read(interaction(model=model, **SMALL, grounding_tool_count=told)))
    assert (made["web_searches"], made["tool_calls"]) == (searches, 2)


@pytest.mark.parametrize("status", ["in_progress", "queued"])
def test_what_is_still_at_work_never_counts(status: str) -> None:
    assert not read(interaction(status, **SMALL)).events
    body = [interaction(status, **SMALL), interaction(**SMALL)]
    assert [one.fields["finish_reason"] for one in read(body).events] == ["completed"]


@pytest.mark.parametrize("status", ["requires_action", "incomplete", "cancelled"])
def test_every_other_end_counts(status: str) -> None:
    made = only(read(interaction(status, **SMALL)))
    assert made["finish_reason"] == status
    assert "error" not in made


def test_a_failed_interaction_is_a_failed_request() -> None:
    assert only(read(interaction("failed", **SMALL)))["error"] == "failed"
    named = {**interaction("failed"), "errors": [{"code": 429, "message": "secret"}]}
    made = only(read(named))
    assert (made["error"], "input_tokens" in made) == ("429", False)


def test_events_of_a_stream_without_usage_are_no_calls() -> None:
    total = {"total_usage": SMALL}
    step = {"event_type": "step.delta", "index": 0, "delta": {"type": "text"}, "metadata": total}
    status = {"event_type": "interaction.status_update", "interaction_id": "v1_a", "status": "x"}
    for event in (step, status, {"event_type": "content.delta", "index": 0}):
        assert not read(event).events
        assert "carries no usage" in read(event).skipped[0].reason
    live = {"event_type": "interaction.completed", "usage": SMALL, "status": {"code": 0}}
    assert only(read(live))["output_tokens"] == 5


def test_an_agent_is_named_in_the_place_of_a_model() -> None:
    body = interaction(**SMALL)
    body |= {"model": None, "agent": "deep-research-pro-preview-12-2025"}
    assert only(read(body))["model"] == "deep-research-pro-preview-12-2025"


def test_a_count_of_another_type_is_refused_with_its_path() -> None:
    (refused,) = read(interaction(total_input_tokens="8")).refused
    assert "usage.total_input_tokens" in str(refused.error)
