"""A price list of our own for tests, with entries beside, before and after the bundled prices."""

from __future__ import annotations

from typing import Final

from schemas.prices.price_list import Prices, parse_prices

OWN: Final[Prices] = parse_prices(
    """
[[price]]
provider = "openai"
model = "gpt-4o*"
from = 2026-01-01
to = 2026-07-01
usd_per_million_input_tokens = 2.123456789
usd_per_million_output_tokens = 0.0005
usd_per_million_cache_read_tokens = 3
[[price]]
provider = "openai"
model = "gpt-4o"
from = 2026-02-08
to = 2026-04-01
usd_per_million_input_tokens = 0
[[price]]
tenant = "acme"
model = "gpt*"
usd_per_request = 0.01
usd_per_million_characters = 15
[[price]]
model = "größe/*"
usd_per_minute_of_audio = 0.0043
usd_per_request = 0.000000001
[[price]]
provider = "vllm"
model = "our-realtime"
usd_per_million_input_tokens = 1
usd_per_million_cache_read_tokens = 0.1
usd_per_million_cache_write_tokens = 1.25
usd_per_million_input_audio_tokens = 30
usd_per_million_cache_read_audio_tokens = 0.3
usd_per_million_output_tokens = 2
usd_per_million_output_audio_tokens = 60.5
[[price]]
tenant = "a|b"
model = "*"
usd_per_million_output_tokens = 0.7
[[price]]
provider = "openai"
model = "gpt-4o*"
service_tier = "flex"
from = 2026-01-01
times_token_prices = 0.5
[[price]]
provider = "groq"
model = "*"
service_tier = "*"
region = "us"
times_token_prices = 1.1
[[price]]
provider = "vllm"
model = "our-realtime"
service_tier = "priority"
usd_per_million_input_tokens = 2
usd_per_million_output_tokens = 4
usd_per_million_cache_read_tokens = 0.2
usd_per_million_cache_write_tokens = 2.5
usd_per_million_cache_write_1h_tokens = 4
usd_per_million_input_image_tokens = 3
usd_per_million_cache_read_image_tokens = 0.3
usd_per_million_output_image_tokens = 40
usd_per_image = 0.04
usd_per_thousand_pages = 2
usd_per_thousand_web_searches = 10
usd_per_thousand_tool_calls = 0.25
[[price]]
provider = "openai"
model = "dear"
usd_per_million_input_tokens = 1000000
""".encode(),
    "prices.toml",
)
