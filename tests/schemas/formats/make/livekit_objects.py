"""Fixtures out of livekit-agents' own metrics: `pip install livekit-agents==1.8.9`, run this."""

from __future__ import annotations

from typing import Any

from livekit.agents import metrics
from livekit.agents.metrics.base import Metadata
from livekit.agents.voice.events import MetricsCollectedEvent
from pydantic import BaseModel
from write import write

AT = 1770544800.1234567


def save(name: str, made: BaseModel) -> None:
    write("livekit", "livekit-agents", name, made.model_dump(mode="json"))


def realtime(**given: Any) -> metrics.RealtimeModelMetrics:
    kind = metrics.RealtimeModelMetrics
    empty: dict[str, Any] = {
        "input_token_details": kind.InputTokenDetails(),
        "output_token_details": kind.OutputTokenDetails(),
        "metadata": Metadata(model_name="gpt-realtime", model_provider="api.openai.com"),
    }
    return kind(**{**empty, "timestamp": AT, **given})


def models() -> None:
    llm = metrics.LLMMetrics(
        label="livekit.plugins.openai.llm.LLM",
        request_id="chatcmpl-abc",
        timestamp=AT,
        duration=1.2345,
        ttft=0.3125,
        cancelled=False,
        completion_tokens=60,
        prompt_tokens=900,
        prompt_cached_tokens=512,
        cache_creation_tokens=16,
        reasoning_tokens=8,
        total_tokens=960,
        tokens_per_second=48.6,
        speech_id="speech_1",
        metadata=Metadata(model_name="gpt-4o", model_provider="api.openai.com"),
    )
    save("llm", llm)
    save("llm_wrapped", MetricsCollectedEvent(metrics=llm, created_at=AT))
    save("llm_cancelled", llm.model_copy(update={"cancelled": True, "ttft": -1.0}))
    decision = metrics.DecisionMetrics(
        label="decision",
        request_id="d-1",
        timestamp=AT,
        duration=0.2,
        input_tokens=50,
        output_tokens=2,
        metadata=Metadata(model_name="gemini-2.5-flash", model_provider="gcp.gemini"),
    )
    save("decision", decision)
    kind = metrics.RealtimeModelMetrics
    full = realtime(
        request_id="resp_1",
        duration=2.5,
        ttft=0.75,
        input_tokens=200,
        output_tokens=100,
        total_tokens=300,
        input_token_details=kind.InputTokenDetails(
            audio_tokens=120,
            text_tokens=80,
            cached_tokens=64,
            cached_tokens_details=kind.CachedTokenDetails(audio_tokens=24, text_tokens=40),
        ),
        output_token_details=kind.OutputTokenDetails(text_tokens=30, audio_tokens=70),
    )
    save("realtime", full)
    save("realtime_session", realtime(request_id="", session_duration=61.5))


def speech() -> None:
    tts = metrics.TTSMetrics(
        label="livekit.plugins.cartesia.tts.TTS",
        request_id="t-1",
        timestamp=AT,
        ttfb=0.0625,
        duration=0.9,
        audio_duration=4.2675,
        cancelled=False,
        characters_count=87,
        streamed=True,
        segment_id="seg-1",
        metadata=Metadata(model_name="sonic-3", model_provider="Cartesia"),
    )
    save("tts", tts)
    with_tokens = {"input_tokens": 22, "output_tokens": 300}
    save("tts_tokens", tts.model_copy(update=with_tokens))
    stt = metrics.STTMetrics(
        label="livekit.plugins.deepgram.stt.STT",
        request_id="s-1",
        timestamp=AT,
        duration=0.0,
        audio_duration=5.05,
        streamed=True,
        metadata=Metadata(model_name="nova-3", model_provider="Deepgram"),
    )
    save("stt", stt)
    billed = {"input_tokens": 48, "output_tokens": 12, "input_audio_tokens": 40, "duration": 0.4}
    save("stt_tokens", stt.model_copy(update={**billed, "streamed": False}))
    connection = {"request_id": "", "audio_duration": 0.0, "acquire_time": 0.21}
    save("stt_connection", stt.model_copy(update=connection))


def without_usage() -> None:
    save(
        "eou",
        metrics.EOUMetrics(
            timestamp=AT,
            end_of_utterance_delay=0.5,
            transcription_delay=0.2,
            on_user_turn_completed_delay=0.0,
        ),
    )
    save(
        "vad",
        metrics.VADMetrics(
            label="vad",
            timestamp=AT,
            idle_time=1.0,
            inference_duration_total=0.1,
            inference_count=9,
        ),
    )


if __name__ == "__main__":
    models()
    speech()
    without_usage()
