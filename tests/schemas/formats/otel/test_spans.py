"""Which spans count, once for each answer, and with which totals."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from schemas.formats.otel.answers import _Groups
from schemas.formats.parse import partial_success
from tests.schemas.formats.fixtures import only, read
from tests.schemas.formats.otel.requests import TRACE, chat, span, traces

USAGE = {"usage__input_tokens": 1500, "usage__output_tokens": 180}
ID = "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"


def counted(*spans: Any, **of: Any) -> list[dict[str, Any]]:
    parsed = read(traces(*spans, **of))
    assert not parsed.refused, parsed.refused[0].error
    return [event.fields for event in parsed.events]


def one(*spans: Any, **of: Any) -> dict[str, Any]:
    (event,) = counted(*spans, **of)
    return event


# -- which spans count -------------------------------------------------------------------------------

CALLS: dict[str, dict[str, Any]] = {
    "openinference": {"openinference__span__kind": "LLM", "llm__token_count__prompt": 8},
    "openinference embedding": {"openinference__span__kind": "EMBEDDING"},
    "vercel": {"ai__operationId": "ai.streamObject.doStream", "ai__usage__promptTokens": 8},
    "vercel embedding": {"ai__operationId": "ai.embedMany.doEmbed", "ai__usage__tokens": 8},
    "langfuse": {"langfuse__observation__type": "generation"},
    "langfuse up to 3.3": {
        "langfuse__observation__type": "span",
        "langfuse__observation__usage_details": '{"input": 8}',
    },
    "langsmith": {"langsmith__span__kind": "llm", "gen_ai__usage__input_tokens": 8},
    "mlflow": {"mlflow__spanType": "CHAT_MODEL"},
    "genkit": {"genkit:metadata:subtype": "model"},
    "laminar": {"lmnr__span__type": "LLM"},
    "braintrust": {"braintrust__span_attributes": '{"type": "llm"}'},
    "openllmetry, old": {"llm__request__type": "completion"},
    "sentry": {"gen_ai__operation__name": "generate_text"},
    "openlit": {"gen_ai__operation__name": "embedding"},
    "litellm": {"gen_ai__operation__name": "acompletion"},
    "capitals": {"gen_ai__operation__name": "Chat"},
}
WRAPPERS: dict[str, dict[str, Any]] = {
    "agent": {"gen_ai__operation__name": "invoke_agent"},
    "a step": {"gen_ai__operation__name": "agent_step"},
    "vercel sums up": {"ai__operationId": "ai.generateText"},
    "openinference chain": {"openinference__span__kind": "CHAIN"},
    "openinference agent": {"openinference__span__kind": "AGENT"},
    "langfuse span": {"langfuse__observation__type": "span"},
    "langfuse agent": {"langfuse__observation__type": "agent"},
    "traceloop": {"traceloop__span__kind": "workflow", "llm__request__type": "chat"},
    "two words": {"openinference__span__kind": "LLM", "ai__operationId": "ai.generateText"},
    "no word": {},
}


@pytest.mark.parametrize("words", CALLS.values(), ids=CALLS)
def test_a_span_that_says_that_it_is_a_call_counts(words: dict[str, Any]) -> None:
    assert one(span(1, **words))["kind"] == "llm"


@pytest.mark.parametrize("words", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize(
    "usage",
    [{"gen_ai__usage__input_tokens": 9}, {"llm__token_count__total": 9}, {"output_tokens": 9}],
)
def test_any_other_span_with_usage_counts_nothing_and_the_answer_says_so(
    words: dict[str, Any], usage: dict[str, Any]
) -> None:
    parsed = read(traces(span(1, **words, **usage), span(2, **words)))
    assert not parsed.events
    assert [skip.has_usage for skip in parsed.skipped] == [True, False]
    assert "1 span with usage not counted: " in partial_success((), parsed.skipped)[1]


def test_numbers_may_be_texts() -> None:
    usage = {"usage__input_tokens": "900", "usage__output_tokens": "140.0", "usage__cost": "1e-3"}
    made = one(chat(1, **usage))
    assert (made["input_tokens"], made["output_tokens"], made["cost_usd"]) == (900, 140, "0.001")
    (refused,) = read(traces(chat(1, usage__input_tokens="many"))).refused
    assert refused.error.field == "gen_ai.usage.input_tokens"


# -- one event for each answer -----------------------------------------------------------------------


def test_spans_of_one_answer_are_one_event_also_in_two_requests() -> None:
    outer = chat(1, response__id=ID, **USAGE, agent__id="a-1")
    inner = chat(2, under=1, response__id=ID, **USAGE)
    assert one(outer, inner)["agent_id"] == "a-1"
    assert one(outer)["id"] == one(inner)["id"] == ID


def test_the_report_that_tells_most_counts() -> None:
    """The other one leaves out the cache."""
    outer = chat(1, response__id=ID, usage__input_tokens=21, usage__output_tokens=393)
    parts = {"usage__cache_read__input_tokens": 1800, "provider__name": "anthropic"}
    inner = chat(
        2, under=1, response__id=ID, usage__input_tokens=1821, usage__output_tokens=393, **parts
    )
    for spans in ((outer, inner), (inner, outer)):
        assert one(*spans)["input_tokens"] == 1821


def test_a_span_below_with_the_same_numbers_is_the_same_answer() -> None:
    """OpenInference has no response id, and a chain stands between the two."""
    outer = span(1, openinference__span__kind="LLM", llm__token_count__prompt=9)
    chain = span(2, under=1, openinference__span__kind="CHAIN")
    inner = chat(3, under=2, response__id=ID, usage__input_tokens=9, usage__output_tokens=0)
    assert one(outer, chain, inner)["id"] == ID


def test_other_numbers_or_no_kinship_are_other_answers() -> None:
    outer = chat(1, **USAGE)
    assert len(counted(outer, chat(2, under=1, usage__input_tokens=7, usage__output_tokens=1))) == 2
    assert len(counted(outer, chat(2, **USAGE))) == 2
    other = {"response__id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6"}
    assert len(counted(chat(1, response__id=ID, **USAGE), chat(2, 1, **other, **USAGE))) == 2


def test_a_stream_that_was_closed_early_is_the_answer_of_the_span_around_it() -> None:
    outer = chat(1, response__id=ID, **USAGE)
    inner = chat(2, under=1, response__id=ID, usage__input_tokens=1500)
    assert one(outer, inner)["output_tokens"] == 180


def test_many_reports_of_one_answer_take_few_steps() -> None:
    """A chain of 3,000 spans, each below the one before: joins move the smaller group."""
    chain = [chat(n, under=n - 1, **USAGE) for n in range(1, 3001)]
    assert one(*chain)["input_tokens"] == 1500
    moved = 0

    class Counted(_Groups):
        def join(self, one: int, other: int) -> None:
            nonlocal moved
            before = dict(self.head)
            super().join(one, other)
            moved += sum(before[at] != self.head[at] for at in (one, other))

    groups = Counted(range(1000))
    for at in range(999):
        groups.join(at + 1, at)
    assert moved <= 999
    assert len(groups.members) == 1


def test_spans_without_ids_are_no_kin() -> None:
    bare = chat(1, **USAGE)
    for name in ("traceId", "spanId", "parentSpanId"):
        bare[name] = ""
    assert len(counted(bare, bare, bare)) == 3


def test_a_span_whose_numbers_are_the_sums_below_is_a_wrapper() -> None:
    outer = chat(1, usage__input_tokens=30, usage__output_tokens=3)
    parts = [chat(n, 1, usage__input_tokens=10, usage__output_tokens=1) for n in (2, 3, 4)]
    made = counted(outer, *parts)
    assert [event["input_tokens"] for event in made] == [10, 10, 10]


@pytest.mark.parametrize("weak", ["chatcmpl-123", "chatcmpl-1770544800", "1234567890123456789"])
def test_a_response_id_that_others_have_too_is_not_enough(weak: str) -> None:
    """Ollama has 999 of them."""
    first = chat(1, response__id=weak, **USAGE)
    again = chat(2, under=1, response__id=weak, **USAGE)
    later = chat(3, response__id=weak, usage__input_tokens=7, usage__output_tokens=1)
    elsewhere = chat(4, trace=TRACE[::-1], response__id=weak, **USAGE)
    made = counted(first, again, later, elsewhere)
    assert len({event["id"] for event in made}) == len(made) == 3


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_report_that_is_not_final_does_not_take_the_place(status: str) -> None:
    assert counted(chat(1, response__id=ID, response__status=status)) == []
    done = chat(2, response__id=ID, response__status="completed", **USAGE)
    assert one(chat(1, response__id=ID, response__status=status), done)["id"] == ID


def test_a_report_without_usage_does_not_take_the_place() -> None:
    assert one(chat(1, response__id=ID))["id"] == f"{TRACE}-{1:016x}"


# -- totals ------------------------------------------------------------------------------------------

CACHE = {"usage__cache_read__input_tokens": 2000, "usage__cache_creation__input_tokens": 300}
SCOPES = ["opentelemetry.instrumentation.bedrock", "opentelemetry.instrumentation.botocore.x"]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("own", [15, 5000])
def test_bedrocks_input_leaves_out_the_cache(scope: str, own: int) -> None:
    usage = {"usage__input_tokens": own, "usage__output_tokens": 44}
    made = one(chat(1, provider__name="aws.bedrock", **usage, **CACHE), scope=scope)
    assert (made["input_tokens"], made["output_tokens"]) == (own + 2300, 44)


@pytest.mark.parametrize(("total", "whole"), [(7344, 7300), (5044, 5000), (None, 5000)])
def test_the_total_tells_whether_the_input_has_the_cache(total: int | None, whole: int) -> None:
    usage = {"usage__input_tokens": 5000, "usage__output_tokens": 44}
    more = {"usage__total_tokens": total} if total else {}
    made = one(chat(1, provider__name="anthropic", **usage, **CACHE, **more))
    assert made["input_tokens"] == whole
    assert "cost_problem" not in made


@pytest.mark.parametrize(
    ("provider", "usage", "output", "reasoning"),
    [
        ("gcp.gemini", {"total": 602}, 580, 400),
        ("gcp.gemini", {"total": 602, "reasoning": 400}, 580, 400),
        ("gcp.gemini", {"reasoning": 400}, 580, 400),
        ("gcp.gemini", {"total": 202, "reasoning": 40}, 180, 40),
        ("x_ai", {"total": 602, "reasoning": 400}, 580, 400),
        ("openai", {"total": 602, "reasoning": 400}, 580, 400),
    ],
)
def test_output_includes_reasoning(
    provider: str, usage: dict[str, int], output: int, reasoning: int
) -> None:
    of = {"usage__input_tokens": 22, "usage__output_tokens": 180, "provider__name": provider}
    if "total" in usage:
        of["usage__total_tokens"] = usage["total"]
    if "reasoning" in usage:
        of["usage__reasoning__output_tokens"] = usage["reasoning"]
    made = one(chat(1, **of))
    assert (made["output_tokens"], made["reasoning_tokens"]) == (output, reasoning)
    assert (made["input_tokens"], "cost_problem" in made) == (22, False)


def test_gemini_prompts_of_its_tools_are_input() -> None:
    usage = {"input": 22, "output": 180, "total": 612, "reasoning": 400}
    of = {f"usage__{name}_tokens": count for name, count in usage.items()}
    made = one(chat(1, provider__name="gemini", **of))
    assert (made["input_tokens"], made["output_tokens"]) == (32, 580)


@pytest.mark.parametrize("total", [999, 150])
def test_a_total_that_nothing_explains_leaves_the_cost_open(total: int) -> None:
    of = {"usage__input_tokens": 100, "usage__output_tokens": 100, "usage__total_tokens": total}
    assert "total" in one(chat(1, provider__name="openai", **of))["cost_problem"]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ('{"input": 100, "output": 50, "input_cache_read": 30, "total": 180}', (130, 50, 30)),
        ('{"input": 100, "output": 50, "input_cached_tokens": 30, "total": 150}', (100, 50, 30)),
        ('{"input": 100, "output": 20, "output_reasoning": 30, "total": 150}', (100, 50, None)),
        ('{"input": 10, "output": 5, "cache_read_input_tokens": 90}', (100, 5, 90)),
        ('{"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 90}', (100, 5, 90)),
        (
            '{"input_tokens": 100, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 90}}',
            (100, 5, 90),
        ),
        ('{"prompt_tokens": 100, "completion_tokens": 5}', (100, 5, None)),
    ],
)
def test_langfuse_texts_of_usage(usage: str, expected: tuple[int | None, ...]) -> None:
    said = {
        "langfuse__observation__type": "generation",
        "langfuse__observation__usage_details": usage,
    }
    made = one(span(1, **said))
    names = ("input_tokens", "output_tokens", "cache_read_tokens")
    assert tuple(made.get(name) for name in names) == expected


def test_compactions_are_beside_the_totals() -> None:
    more = {
        "anthropic__usage__compaction__input_tokens": 7,
        "anthropic__usage__compaction__output_tokens": 3,
    }
    made = chat(1, provider__name="anthropic", **USAGE)
    made["attributes"] += span(1, **more)["attributes"]
    assert (one(made)["input_tokens"], one(made)["output_tokens"]) == (1507, 183)


# -- the same fact under other names, names, costs, times --------------------------------------------


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("details__cache_read_input_tokens", "cache_read_tokens"),
        ("details__cached_tokens", "cache_read_tokens"),
        ("cache_read_input_tokens", "cache_read_tokens"),
        ("details__cache_creation_input_tokens", "cache_write_tokens"),
        ("cache_write_input_tokens", "cache_write_tokens"),
        ("details__reasoning_tokens", "reasoning_tokens"),
        ("details__thoughts_tokens", "reasoning_tokens"),
        ("details__input_audio_tokens", "input_audio_tokens"),
    ],
)
def test_names_of_parts(name: str, field: str) -> None:
    assert one(chat(1, **USAGE, **{f"usage__{name}": 70}))[field] == 70


def test_usage_that_is_not_understood_is_named() -> None:
    unknown = {"usage__details__dream_tokens": 7, "usage__quiet_tokens": 0}
    (event,) = read(traces(chat(1, **USAGE, **unknown))).events
    assert event.unknown == ("gen_ai.usage.details.dream_tokens",)


@pytest.mark.parametrize(
    "name",
    ["gen_ai__usage__cost", "gen_ai__cost__total_cost", "operation__cost", "llm__cost__total"],
)
def test_a_cost_that_is_said_is_kept(name: str) -> None:
    of = {"gen_ai__operation__name": "chat", name: Decimal("0.00549")}
    assert one(span(1, **of))["cost_usd"] == "0.00549"


@pytest.mark.parametrize(
    ("said", "model", "provider", "plain"),
    [
        ("openai.chat", "gpt-4o", "openai", "gpt-4o"),
        ("strands-agents", "us.anthropic.claude-sonnet-4-20250514-v1:0", "aws", None),
        ("google-vertex", "publishers/google/models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("Google", "models/gemini-2.5-flash", "google", "gemini-2.5-flash"),
    ],
)
def test_names_of_providers_and_models(
    said: str, model: str, provider: str, plain: str | None
) -> None:
    made = one(chat(1, system=said, request__model=model))
    assert (made["provider"], made["model"]) == (provider, plain or model)


@pytest.mark.parametrize(
    ("said", "tier"),
    [("flex", "flex"), ("PRIORITY", "priority"), ("auto", None), ("batch", "batch")],
)
def test_the_tier_of_the_answer_is_kept(said: str, tier: str | None) -> None:
    made = one(chat(1, openai__response__service_tier=said))
    assert made.get("service_tier") == tier


def test_the_host_tells_the_provider_of_a_client_for_openai() -> None:
    made = chat(1, system="openai", request__model="deepseek-chat")
    made["attributes"] += span(1, server__address="api.deepseek.com")["attributes"]
    assert one(made)["provider"] == "deepseek"


@pytest.mark.parametrize("end", [1770544801, 1770544801000, 4_000_000_000 * 10**9])
def test_a_time_that_cannot_be_is_that_of_the_receipt_and_named(end: int) -> None:
    made = chat(1, **USAGE)
    made["endTimeUnixNano"] = str(end)
    (event,) = read(traces(made)).events
    assert event.fields["time"] == "2026-02-08T10:01:00Z"
    assert event.unknown == ("time (impossible)",)


def test_a_span_of_langfuse_has_its_first_output() -> None:
    said = {
        "langfuse__observation__type": "generation",
        "langfuse__observation__completion_start_time": '"2026-02-08T10:00:00.250Z"',
    }
    assert only(read(traces(span(1, **said))))["first_output_ms"] == 250
