"""The models, agents and users of the sample traffic, as data.

Prices are list prices as published in 2025, rounded where a unit is odd: realistic, not a price list.
1 USD per million tokens = 1 micro-USD per token = 1,000,000 pico-USD per token.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, NamedTuple

Way = Literal["call", "chat", "task"]
"""How an agent is used."""


@dataclass(frozen=True)
class SampleModel:
    """Prices in pico-USD per token (llm), started second of audio (stt) or character (tts).

    A cache price of 0 means that the model has no cache. `first_ms` is the typical time to the first
    output. `reports_tokens`: a speech model that also counts tokens.
    """

    provider: str
    model: str
    input_pico_usd: int
    output_pico_usd: int = 0
    cache_read_pico_usd: int = 0
    cache_write_pico_usd: int = 0
    audio_input_pico_usd: int = 0
    audio_output_pico_usd: int = 0
    first_ms: int = 500
    tokens_per_s: int = 80
    reasons: bool = False
    reports_tokens: bool = False

    @property
    def names(self) -> dict[str, str]:
        return {"provider": self.provider, "model": self.model}


_USD_PER_MILLION: Final = 1_000_000  # pico-USD per unit
_CENT: Final = 10_000  # of a dollar per million

GPT_41: Final = SampleModel(
    "openai", "gpt-4.1",
    2 * _USD_PER_MILLION, 8 * _USD_PER_MILLION, 50 * _CENT, first_ms=480, tokens_per_s=95,
)  # fmt: skip
GPT_41_MINI: Final = SampleModel(
    "openai", "gpt-4.1-mini", 40 * _CENT, 160 * _CENT, 10 * _CENT, first_ms=380, tokens_per_s=120
)
GPT_4O: Final = SampleModel(
    "openai", "gpt-4o",
    250 * _CENT, 10 * _USD_PER_MILLION, 125 * _CENT, first_ms=450, tokens_per_s=100,
)  # fmt: skip
GPT_5: Final = SampleModel(
    "openai", "gpt-5",
    125 * _CENT, 10 * _USD_PER_MILLION, 125_000, first_ms=900, tokens_per_s=110, reasons=True,
)  # fmt: skip
GPT_REALTIME: Final = SampleModel(
    "openai", "gpt-realtime",
    4 * _USD_PER_MILLION, 16 * _USD_PER_MILLION, 40 * _CENT,
    audio_input_pico_usd=32 * _USD_PER_MILLION, audio_output_pico_usd=64 * _USD_PER_MILLION,
    first_ms=620,
)  # fmt: skip
SONNET: Final = SampleModel(
    "anthropic", "claude-sonnet-4-5",
    3 * _USD_PER_MILLION, 15 * _USD_PER_MILLION, 30 * _CENT, 375 * _CENT,
    first_ms=850, tokens_per_s=70,
)  # fmt: skip
HAIKU: Final = SampleModel(
    "anthropic", "claude-haiku-4-5",
    1 * _USD_PER_MILLION, 5 * _USD_PER_MILLION, 10 * _CENT, 125 * _CENT,
    first_ms=420, tokens_per_s=140,
)  # fmt: skip
GEMINI_FLASH: Final = SampleModel(
    "google", "gemini-2.5-flash", 30 * _CENT, 250 * _CENT, 3 * _CENT, first_ms=350, tokens_per_s=190
)
MISTRAL: Final = SampleModel(
    "mistral", "mistral-medium-2508", 40 * _CENT, 2 * _USD_PER_MILLION, first_ms=400
)
NOVA: Final = SampleModel("deepgram", "nova-3", 128_333_333, first_ms=180)
SCRIBE: Final = SampleModel("elevenlabs", "scribe_v2_realtime", 77_777_778, first_ms=150)
SONIC: Final = SampleModel("cartesia", "sonic-2", 37_500_000, first_ms=95)
FLASH_VOICE: Final = SampleModel("elevenlabs", "eleven_flash_v2_5", 50_000_000, first_ms=110)
OPENAI_EAR: Final = SampleModel(
    "openai", "gpt-4o-mini-transcribe", 50_000_000, first_ms=300, reports_tokens=True
)
OPENAI_VOICE: Final = SampleModel(
    "openai", "gpt-4o-mini-tts", 15_000_000, first_ms=320, reports_tokens=True
)

LLMS: Final = (GPT_41, GPT_41_MINI, GPT_4O, GPT_5, GPT_REALTIME, SONNET, HAIKU, GEMINI_FLASH, MISTRAL)  # fmt: skip
STTS: Final = (NOVA, SCRIBE, OPENAI_EAR)
TTSS: Final = (SONIC, FLASH_VOICE, OPENAI_VOICE)


class Topic(NamedTuple):
    """The topic of a chat."""

    title: str
    tag: str


@dataclass(frozen=True)
class SampleAgent:
    """`weight` is its share of the sessions. Only agents that take calls have stt and tts."""

    id: str
    way: Way
    llm: SampleModel
    weight: int
    prompt_tokens: int
    topics: tuple[Topic, ...] = ()
    service: str = ""
    stt: SampleModel | None = None
    tts: SampleModel | None = None
    voice: str = ""


_WORK: Final = (
    Topic("Draft of the release notes", "writing"),
    Topic("Why is the nightly build slow?", "engineering"),
    Topic("Regular expression for order numbers", "engineering"),
    Topic("Translate the onboarding guide", "translation"),
    Topic("Minutes of Monday's meeting", "writing"),
    Topic("Holiday policy in Portugal", "people"),
)
_HELP: Final = (
    Topic("Parcel has not arrived", "delivery"),
    Topic("Invoice for March", "billing"),
    Topic("Change of address", "account"),
    Topic("Password reset does not come", "account"),
    Topic("Return of a damaged lamp", "returns"),
)
_NUMBERS: Final = (
    Topic("Revenue by region, last quarter", "analysis"),
    Topic("Churn in the trial cohort", "analysis"),
    Topic("Which queries are slow?", "engineering"),
)

_AGENTS: Final = (
    SampleAgent("my-agent", "chat", GPT_4O, 14, 900, _WORK),
    SampleAgent("support-chat", "chat", HAIKU, 12, 2200, _HELP),
    SampleAgent("code-review", "chat", SONNET, 10, 3500, _WORK),
    SampleAgent("research", "chat", GPT_5, 6, 1200, _NUMBERS),
    SampleAgent("sql-helper", "chat", GPT_41, 6, 2600, _NUMBERS),
    SampleAgent("translator", "chat", MISTRAL, 5, 300, _WORK),
    SampleAgent("onboarding", "chat", GPT_41_MINI, 5, 1500, _HELP),
    SampleAgent("shop-guide", "chat", GEMINI_FLASH, 8, 1800, _HELP),
    SampleAgent(
        "reception", "call", GPT_41_MINI, 6, 1100, (), "telephony", NOVA, SONIC, "british-lady"
    ),
    SampleAgent(
        "order-line", "call", GPT_4O, 5, 1700, (), "telephony", NOVA, FLASH_VOICE, "Rachel"
    ),
    SampleAgent("appointments", "call", HAIKU, 5, 1400, (), "telephony", NOVA, SONIC, "calm-man"),
    SampleAgent("claims", "call", SONNET, 3, 2400, (), "telephony", SCRIBE, FLASH_VOICE, "Adam"),
    SampleAgent(
        "web-voice", "call", GEMINI_FLASH, 4, 900, (), "web", OPENAI_EAR, OPENAI_VOICE, "alloy"
    ),
    SampleAgent("tutor", "call", GPT_REALTIME, 3, 700, (), "web", voice="marin"),
    SampleAgent("concierge", "call", GPT_REALTIME, 2, 800, (), "telephony", voice="cedar"),
    SampleAgent(
        "survey", "call", GPT_41_MINI, 2, 500, (), "outbound", SCRIBE, SONIC, "friendly-woman"
    ),
    SampleAgent("summariser", "task", GEMINI_FLASH, 4, 400),
    SampleAgent("mail-triage", "task", GPT_41_MINI, 4, 700),
    SampleAgent("document-index", "task", MISTRAL, 3, 200),
    SampleAgent("night-audit", "task", HAIKU, 2, 1300),
)


class SampleUser(NamedTuple):
    """An invented user: names are combined at random, phone numbers are reserved for fiction."""

    id: str
    name: str
    email: str
    phone: str
    team: str


class Cast(NamedTuple):
    """`agent_weights` are cumulative, as `random.choices` takes them."""

    agents: tuple[SampleAgent, ...]
    agent_weights: tuple[int, ...]
    users: tuple[SampleUser, ...]


USERS: Final = 150
_FIRST: Final = (
    "Alice", "Amara", "Bruno", "Carmen", "Chidi", "Daniel", "Elif", "Emma", "Farid", "Grace",
    "Hana", "Hugo", "Ines", "Ivan", "Jana", "Jonas", "Kofi", "Lea", "Liam", "Mai", "Marta", "Noah",
    "Olga", "Priya", "Rosa", "Sami", "Sofia", "Tomas", "Yuki", "Zoe",
)  # fmt: skip
_LAST: Final = (
    "Almeida", "Becker", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito",
    "Jansen", "Kowalski", "Lindqvist", "Moreau", "Nakamura", "Okafor", "Patel", "Rossi", "Singh",
    "Tanaka", "Weber",
)  # fmt: skip
_TEAMS: Final = ("search", "support", "sales", "engineering", "people", "finance")
_AREAS: Final = (202, 212, 312, 415)


def cast(seed: int) -> Cast:
    """Return the same cast for the same seed."""
    rng = random.Random(f"{seed}:cast")  # noqa: S311 - no secrets here
    full_names = rng.sample([(first, last) for first in _FIRST for last in _LAST], USERS)
    users = tuple(
        SampleUser(
            id=f"u-{number}",
            name=f"{first} {last}",
            email=f"{first}.{last}@example.com".lower(),
            # 555-0100 to 555-0199 in each area are reserved for fiction
            phone=f"+1{_AREAS[number // 100]}55501{number % 100:02d}",
            team=rng.choice(_TEAMS),
        )
        for number, (first, last) in enumerate(full_names, 1)
    )
    return Cast(_AGENTS, tuple(accumulate(agent.weight for agent in _AGENTS)), users)
