"""Prices that the bundled list does not have: of voice vendors, and of audio tokens. Data. Pure.

The text is a price file, as an operator's (schemas/prices/price_list.py), and comes after the operator's
and before the bundled list. Each entry names its `source` and the day on which it was `read`; it holds
from then on, or from the day that the source states. What a source does not say, has no entry:

- Cartesia and ElevenLabs' plans bill credits. Cartesia states no price of a credit without a plan.
- AssemblyAI bills streams by the time that a connection is open, which events do not report.
- Deepgram's other languages and models have other prices, and its recordings another than streams:
  `service_tier = "prerecorded"`.
"""

from __future__ import annotations

from typing import Final

LISTED_TOML: Final = """
# -- Deepgram

[[price]]
provider = "deepgram"
model = "nova-3"
from = 2026-05-05
usd_per_minute_of_audio = 0.0048
source = "github.com/hail-hq/hail costs/stt.json, which read deepgram.com/pricing: streams, English"
read = 2026-11-30
[[price]]
provider = "deepgram"
model = "nova-3-general"
from = 2026-05-05
usd_per_minute_of_audio = 0.0048
source = "github.com/hail-hq/hail costs/stt.json, which read deepgram.com/pricing: streams, English"
read = 2026-11-30
[[price]]
provider = "deepgram"
model = "nova-3"
service_tier = "prerecorded"
from = 2026-05-05
usd_per_minute_of_audio = 0.0043
source = "github.com/hail-hq/hail costs/stt.json, which read deepgram.com/pricing: recordings"
read = 2026-11-30
[[price]]
provider = "deepgram"
model = "nova-3-general"
service_tier = "prerecorded"
from = 2026-05-05
usd_per_minute_of_audio = 0.0043
source = "github.com/hail-hq/hail costs/stt.json, which read deepgram.com/pricing: recordings"
read = 2026-11-30
[[price]]
provider = "deepgram"
model = "flux-general-multi"
from = 2026-11-04
usd_per_minute_of_audio = 0.0078
source = "docs.flexprice.io deepgram-pricing, with deepgram.com/pricing as of 4 November 2026"
read = 2026-11-30
[[price]]
provider = "deepgram"
model = "nova-2*"
service_tier = "prerecorded"
from = 2026-11-30
usd_per_minute_of_audio = 0.0043
source = "litellm 1.110.2, which cites deepgram.com/pricing"
read = 2026-11-30
[[price]]
provider = "deepgram"
model = "aura-2*"
from = 2026-11-30
usd_per_million_characters = 30
source = "litellm 1.110.2, which cites deepgram.com/pricing"
read = 2026-11-30
[[price]]
provider = "deepgram"
model = "aura*"
from = 2026-11-30
usd_per_million_characters = 15
source = "litellm 1.110.2, which cites deepgram.com/pricing"
read = 2026-11-30

# -- ElevenLabs

[[price]]
provider = "elevenlabs"
model = "eleven_flash_v2*"
from = 2026-11-30
usd_per_million_characters = 40
source = "litellm 1.110.2, which cites elevenlabs.io/pricing/api"
read = 2026-11-30
[[price]]
provider = "elevenlabs"
model = "eleven_turbo_v2*"
from = 2026-11-30
usd_per_million_characters = 40
source = "litellm 1.110.2, which cites elevenlabs.io/pricing/api"
read = 2026-11-30
[[price]]
provider = "elevenlabs"
model = "eleven_multilingual_v2"
from = 2026-11-30
usd_per_million_characters = 80
source = "litellm 1.110.2, which cites elevenlabs.io/pricing/api"
read = 2026-11-30
[[price]]
provider = "elevenlabs"
model = "eleven_v3"
from = 2026-11-30
usd_per_million_characters = 80
source = "litellm 1.110.2, which cites elevenlabs.io/pricing/api"
read = 2026-11-30
[[price]]
provider = "elevenlabs"
model = "eleven_v4"
from = 2026-11-30
usd_per_million_characters = 80
source = "litellm 1.110.2, which cites elevenlabs.io/pricing/api"
read = 2026-11-30
[[price]]
provider = "elevenlabs"
model = "eleven_v4_turbo"
from = 2026-11-30
usd_per_million_characters = 40
source = "litellm 1.110.2, which cites elevenlabs.io/pricing/api"
read = 2026-11-30
[[price]]
provider = "elevenlabs"
model = "scribe_v1"
from = 2026-06-01
usd_per_hour_of_audio = 0.22
source = "developer.puter.com/tutorials/elevenlabs-api-pricing of June 2026, and litellm 1.110.2"
read = 2026-11-30
[[price]]
provider = "elevenlabs"
model = "scribe_v2"
from = 2026-06-01
usd_per_hour_of_audio = 0.22
source = "developer.puter.com/tutorials/elevenlabs-api-pricing of June 2026, and litellm 1.110.2"
read = 2026-11-30

# -- AssemblyAI: recordings

[[price]]
provider = "assemblyai"
model = "universal-2"
from = 2026-10-07
usd_per_hour_of_audio = 0.15
source = "github.com/api-evangelist/assemblyai plans, which quotes www.assemblyai.com/pricing"
read = 2026-11-30
[[price]]
provider = "assemblyai"
model = "universal"
from = 2026-10-07
usd_per_hour_of_audio = 0.15
source = "github.com/api-evangelist/assemblyai plans, which quotes www.assemblyai.com/pricing"
read = 2026-11-30
[[price]]
provider = "assemblyai"
model = "universal-3*"
from = 2026-10-07
usd_per_hour_of_audio = 0.21
source = "github.com/api-evangelist/assemblyai plans, which quotes www.assemblyai.com/pricing"
read = 2026-11-30

# -- Google and Azure: speech

[[price]]
provider = "google"
model = "chirp_2"
from = 2026-11-30
usd_per_minute_of_audio = 0.016
source = "litellm 1.110.2, which cites cloud.google.com/speech-to-text/pricing"
read = 2026-11-30
[[price]]
provider = "google"
model = "chirp_3"
from = 2026-11-30
usd_per_minute_of_audio = 0.016
source = "litellm 1.110.2, which cites cloud.google.com/speech-to-text/pricing"
read = 2026-11-30
[[price]]
provider = "azure"
model = "speech/azure-tts"
from = 2026-11-30
usd_per_million_characters = 15
source = "litellm 1.110.2, which cites azure.microsoft.com/en-us/pricing/calculator"
read = 2026-11-30
[[price]]
provider = "azure"
model = "speech/azure-tts-hd"
from = 2026-11-30
usd_per_million_characters = 30
source = "litellm 1.110.2, which cites azure.microsoft.com/en-us/pricing/calculator"
read = 2026-11-30
[[price]]
provider = "azure"
model = "speech/azure-stt"
from = 2026-11-30
usd_per_hour_of_audio = 1
source = "litellm 1.110.2, which cites azure.microsoft.com speech-services"
read = 2026-11-30

# -- OpenAI: audio tokens, which the bundled list leaves out

[[price]]
provider = "openai"
model = "gpt-4o-audio-preview"
from = 2025-06-03
usd_per_million_input_tokens = 2.5
usd_per_million_output_tokens = 10
usd_per_million_input_audio_tokens = 40
usd_per_million_output_audio_tokens = 80
source = "developers.openai.com/api/docs/models/gpt-4o-audio-preview"
read = 2026-11-30
[[price]]
provider = "openai"
model = "gpt-4o-audio-preview-2024-12-17"
usd_per_million_input_tokens = 2.5
usd_per_million_output_tokens = 10
usd_per_million_input_audio_tokens = 40
usd_per_million_output_audio_tokens = 80
source = "developers.openai.com/api/docs/models/gpt-4o-audio-preview"
read = 2026-11-30
[[price]]
provider = "openai"
model = "gpt-4o-audio-preview-2025-06-03"
usd_per_million_input_tokens = 2.5
usd_per_million_output_tokens = 10
usd_per_million_input_audio_tokens = 40
usd_per_million_output_audio_tokens = 80
source = "developers.openai.com/api/docs/models/gpt-4o-audio-preview"
read = 2026-11-30
[[price]]
provider = "openai"
model = "gpt-4o-mini-audio-preview*"
usd_per_million_input_tokens = 0.15
usd_per_million_output_tokens = 0.6
usd_per_million_input_audio_tokens = 10
usd_per_million_output_audio_tokens = 20
source = "developers.openai.com/api/docs/models/gpt-4o-mini-audio-preview"
read = 2026-11-30

# -- Anthropic: inference in the United States, from Opus 4.6 on (older models refuse the parameter)

[[price]]
provider = "anthropic"
model = "claude-*"
region = "us"
service_tier = "*"
speed = "*"
times_token_prices = 1.1
source = "platform.claude.com/docs/en/manage-claude/data-residency, and that of Claude on AWS"
read = 2026-11-30
"""
