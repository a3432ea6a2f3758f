"""The paths of OpenAI's dialect: what each asks, and what it groups and filters by. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from api.openai import figures
from api.openai.figures import Figures
from api.query.series_index import Filter
from api.query.time_buckets import DAILY, HOURLY, STEPS, Step
from schemas.catalog.measures import (
    CACHE_READ_AUDIO_TOKENS,
    CACHE_READ_TEXT_TOKENS,
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    COST_EVENTS,
    COST_NANO_USD,
    EVENTS,
    FILE_SEARCHES,
    IMAGES,
    INPUT_AUDIO_TOKENS,
    INPUT_IMAGE_TOKENS,
    INPUT_TEXT_TOKENS,
    INPUT_TOKENS,
    OUTPUT_AUDIO_TOKENS,
    OUTPUT_IMAGE_TOKENS,
    OUTPUT_TEXT_TOKENS,
    OUTPUT_TOKENS,
    STT_AUDIO_MS,
    TTS_CHARACTERS,
    WEB_SEARCHES,
    Measure,
)
from schemas.event.kinds import USAGE_KINDS
from schemas.responses import openai as models

WIDTHS: Final[Mapping[str, Step]] = {"1m": STEPS[0], "1h": HOURLY, "1d": DAILY}
LIMITS: Final[Mapping[str, tuple[int, int]]] = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
"""Buckets of a page: the default and the most."""

DIMENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "project_id": ("project",),
    "user_id": ("user",),
    "api_key_id": ("api_key",),
    "model": ("model",),
    "batch": ("service_tier",),
    "service_tier": ("service_tier",),
    "api_source": (),
    "line_item": ("kind", "provider", "model"),
}
"""Value of `group_by` -> our dimensions. Events say nothing of any other value."""
FILTERS: Final[Mapping[str, str]] = {
    "project_ids": "project",
    "user_ids": "user",
    "api_key_ids": "api_key",
    "models": "model",
}
"""List parameter -> our dimension. `line_items` and `batch` are read otherwise."""
LABELLED: Final = ("project", "api_key")
"""Dimensions that exist only if the operator's catalog has them, from labels of the same names."""
UNKNOWN_VALUES: Final = ("size", "source", "context_level", "vector_store_id")
"""Values of `group_by` that events do not carry."""

_EMBEDDINGS: Final = frozenset(("embeddings",))
_MODERATIONS: Final = frozenset(("moderation",))
_IMAGES: Final = frozenset(("image",))


@dataclass(frozen=True)
class OrganizationPath:
    """One path below /openai/v1/organization. `object`: of its results. `required`: a view that lacks one
    of these measures cannot answer; a number that needs another measure is null there. Without any the
    path is always empty."""

    path: str
    about: str
    object: str
    result: type[models.OpenAIBody]
    figures: Figures
    required: tuple[Measure, ...]
    groups: tuple[str, ...]
    filters: tuple[str, ...]
    kinds: tuple[str, ...] = ("llm",)
    operations: frozenset[str] = frozenset()
    except_operations: frozenset[str] = frozenset()
    optional: tuple[Measure, ...] = ()
    only_with: Measure = EVENTS
    """A group is listed if it has any of it."""
    widths: tuple[str, ...] = tuple(WIDTHS)
    limits: Mapping[str, tuple[int, int]] | None = None

    @cached_property
    def selects(self) -> tuple[Filter, ...]:
        """The events that the path is about."""
        found = [Filter("kind", frozenset(self.kinds))]
        if self.operations:
            found.append(Filter("operation", self.operations))
        if self.except_operations:
            found.append(Filter("operation", self.except_operations, is_negated=True))
        return tuple(found)

    def limits_of(self, width: str) -> tuple[int, int]:
        return (self.limits or LIMITS)[width]


_OWNER_GROUPS: Final = ("project_id", "user_id", "api_key_id")
_OWNER_FILTERS: Final = ("project_ids", "user_ids", "api_key_ids")
_GROUPS: Final = (*_OWNER_GROUPS, "model")
_FILTERS: Final = (*_OWNER_FILTERS, "models")

PATHS: Final = (
    OrganizationPath(
        "usage/completions",
        "Language models, without embeddings, images and moderations",
        "organization.usage.completions.result",
        models.CompletionsResult,
        figures.completions,
        (EVENTS, INPUT_TOKENS, OUTPUT_TOKENS),
        (*_GROUPS, "batch", "service_tier", "api_source"),
        (*_FILTERS, "batch"),
        except_operations=_EMBEDDINGS | _MODERATIONS | _IMAGES,
        optional=(
            CACHE_READ_TOKENS,
            CACHE_WRITE_TOKENS,
            INPUT_TEXT_TOKENS,
            INPUT_AUDIO_TOKENS,
            INPUT_IMAGE_TOKENS,
            CACHE_READ_TEXT_TOKENS,
            CACHE_READ_AUDIO_TOKENS,
            OUTPUT_TEXT_TOKENS,
            OUTPUT_AUDIO_TOKENS,
            OUTPUT_IMAGE_TOKENS,
        ),
    ),
    OrganizationPath(
        "usage/embeddings",
        "Embeddings",
        "organization.usage.embeddings.result",
        models.EmbeddingsResult,
        figures.input_only,
        (EVENTS, INPUT_TOKENS),
        _GROUPS,
        _FILTERS,
        operations=_EMBEDDINGS,
    ),
    OrganizationPath(
        "usage/moderations",
        "Moderations",
        "organization.usage.moderations.result",
        models.ModerationsResult,
        figures.input_only,
        (EVENTS, INPUT_TOKENS),
        _GROUPS,
        _FILTERS,
        operations=_MODERATIONS,
    ),
    OrganizationPath(
        "usage/images",
        "Images",
        "organization.usage.images.result",
        models.ImagesResult,
        figures.images,
        (EVENTS, IMAGES),
        (*_GROUPS, "size", "source"),
        (*_FILTERS, "sizes", "sources"),
        operations=_IMAGES,
    ),
    OrganizationPath(
        "usage/audio_speeches",
        "Text to speech",
        "organization.usage.audio_speeches.result",
        models.AudioSpeechesResult,
        figures.speeches,
        (EVENTS, TTS_CHARACTERS),
        _GROUPS,
        _FILTERS,
        kinds=("tts",),
    ),
    OrganizationPath(
        "usage/audio_transcriptions",
        "Speech to text",
        "organization.usage.audio_transcriptions.result",
        models.AudioTranscriptionsResult,
        figures.transcriptions,
        (EVENTS, STT_AUDIO_MS),
        _GROUPS,
        _FILTERS,
        kinds=("stt",),
    ),
    OrganizationPath(
        "usage/web_search_calls",
        "Web searches of language models",
        "organization.usage.web_searches.result",
        models.WebSearchesResult,
        figures.web_searches,
        (EVENTS, WEB_SEARCHES),
        (*_GROUPS, "context_level", "api_source"),
        (*_FILTERS, "context_levels"),
        only_with=WEB_SEARCHES,
    ),
    OrganizationPath(
        "usage/file_search_calls",
        "File searches of language models",
        "organization.usage.file_searches.result",
        models.FileSearchesResult,
        figures.file_searches,
        (EVENTS, FILE_SEARCHES),
        (*_OWNER_GROUPS, "vector_store_id"),
        (*_OWNER_FILTERS, "vector_store_ids"),
        only_with=FILE_SEARCHES,
    ),
    OrganizationPath(
        "usage/vector_stores",
        "Vector stores, which are not metered: always empty",
        "organization.usage.vector_stores.result",
        models.OpenAIBody,
        figures.nothing,
        (),
        ("project_id",),
        ("project_ids",),
    ),
    OrganizationPath(
        "usage/code_interpreter_sessions",
        "Code interpreter sessions, which are not metered: always empty",
        "organization.usage.code_interpreter_sessions.result",
        models.OpenAIBody,
        figures.nothing,
        (),
        ("project_id",),
        ("project_ids",),
    ),
    OrganizationPath(
        "costs",
        "Costs of models, speech and transcription",
        "organization.costs.result",
        models.CostsResult,
        figures.costs,
        (EVENTS, COST_NANO_USD, COST_EVENTS),
        ("project_id", "user_id", "line_item", "api_key_id", "api_source"),
        ("project_ids", "user_ids", "api_key_ids", "line_items"),
        kinds=USAGE_KINDS,
        optional=(INPUT_TOKENS, OUTPUT_TOKENS, TTS_CHARACTERS, STT_AUDIO_MS),
        widths=("1d",),
        limits={"1d": (7, 180)},
    ),
)
