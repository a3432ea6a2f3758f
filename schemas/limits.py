"""Every limit of an event, each with its reason. Pure.

Limits are part of the digest of a generation (schemas/store/generation.py). Two workers that
disagree on one limit would count the same log differently, so the store rejects the second one.
"""

from typing import Final

SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

EVENT_BYTES_MAX: Final = 64 * 1024
"""One record's value. A full event with every text at its limit is 11 kB; a batch of 20,000 of the
largest is 1.3 GB, so batches are bounded by bytes as well."""

ID_CHARS_MAX: Final = 256
"""Ids, sources and names of dimensions: trace ids are 49, ARNs of models up to 200 characters."""
TENANT_CHARS_MAX: Final = 64
"""It is part of many keys and log lines."""
EMAIL_CHARS_MAX: Final = 320
"""64 before the @ and 255 after it (RFC 5321)."""
PHONE_CHARS_MAX: Final = 64
"""A SIP URI of a caller; E.164 numbers have 15 digits."""
TITLE_CHARS_MAX: Final = 512
PREVIEW_CHARS_MAX: Final = 2000
"""Only the first 200 are ever shown."""
ERROR_CHARS_MAX: Final = 1024
"""The class or code of an error; a traceback does not belong here."""
LABELS_MAX: Final = 16
LABEL_KEY_CHARS_MAX: Final = 64
LABEL_VALUE_CHARS_MAX: Final = 256
TAGS_MAX: Final = 32
TAG_CHARS_MAX: Final = 64

COUNT_MAX: Final = 10**9
"""Tokens or characters of one event. The longest contexts are 10^7 tokens; 2^63 / 10^9 leaves room
for nine billion such events in one bucket."""
DURATION_MS_MAX: Final = 7 * DAY_MS
"""Latency, audio or call of one event. Nothing live lasts a week, and the limit finds values that
were sent in microseconds by mistake."""
COST_NANO_USD_MAX: Final = 10**13
"""10,000 USD an event. 2^63 / 10^13 = 922,337 such events fit in one bucket. Additions are checked
for overflow beyond that."""

AHEAD_MS_MAX: Final = HOUR_MS
"""How far an event's time may lie ahead of its append: clocks are off by minutes, zones by hours."""

NANO_PER_USD: Final = 10**9
