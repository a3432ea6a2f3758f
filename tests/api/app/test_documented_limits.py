"""Each limit that the pages of api/ state is the one of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from api.app import sending
from api.app.connections import CONNECTIONS_MAX, SHARE
from api.app.server import RATE_BYTES_PER_S
from api.app.server_limits import ServerLimits
from api.auth import audit, endpoints, failures, key_cache, key_records, key_shares, keys
from api.auth.authenticate import EXPORTER_HEADERS
from api.dead_letters import endpoints as dead_letters
from api.dead_letters.audit import REPLAYS_TENANT_MAX, SHOWN
from api.http import arrivals, json_body
from api.http.shared_bytes import SMALL_BYTES_MAX, SMALL_PART
from api.ingest import body_reader, memory, producer, records, request_body
from api.openwebui import users
from api.query import bounds, selection, sums
from api.store import directory, generation_state, large_answers, names_cache, reader, slots
from api.stream import endpoints as stream
from api.stream import feed, feeds
from api.usage import endpoints as usage
from api.usage import parameters, sections
from api.usage.groups import having, people, wide
from deploy.dead_letters import READ_S, SEND_S
from schemas import limits
from schemas.catalog.views import REMEMBERED_MS, SLICE_MS
from schemas.formats import body, complete, objects, structure
from schemas.formats.otel import wire
from schemas.responses.dead_letters import ORIGINS_MAX
from schemas.store import chats
from schemas.store import directory as stored
from streams.operations.replay import RECENT_MAX
from streams.redis.commit import TABLE_SERIES_MIN, TENANT_SERIES

API: Final = Path(__file__).parents[3] / "api"
PAGES: Final = ("README.md", "app/README.md", "auth/README.md", "ingest/README.md")
README: Final = " ".join(" ".join((API / page).read_text() for page in PAGES).split())
KiB: Final = 1024
MiB: Final = 1024 * 1024
SERVER: Final = ServerLimits()
ROOM: Final = 1 - SMALL_PART
"""The part of shared bytes that is not for small bodies only."""

STATED: Final = {
    "leaderboards": (
        f"A question has at most {parameters.TENANTS_MAX} tenants",
        f"Names are those of the last {people.FRESH_S:g} s",
        f"at most {having.CONDITIONS_MAX}, all must hold",
        f"at most {wide.COLUMNS_MAX:,} such columns and {wide.CELLS_MAX:,} cells",
    ),
    "streams": (
        f"streams of one key | {feeds.STREAMS_OF_KEY_MAX} | 429",
        f"streams of a process, and of a tenant as many as are left | {feeds.STREAMS_MAX:,} | 429",
        f"as many as are left | {feeds.FEEDS_MAX} | 429",
        f"as many as are left | {feeds.CELLS_MAX:,} | 429, or the stream ends",
        f"compared with | {feeds.ROWS_OF_FEED_MAX:,} | 400",
        f"cells of one feed | {feeds.CELLS_OF_FEED_MAX:,} | 400",
        f"read at once | {feeds.READS.of_tenant} of a tenant, {feeds.READS.at_once} of a process | others wait",
        f"questions of one stream | {stream.QUESTIONS_MAX} | 400",
        f"question, at most {stream.QUESTIONS_MAX}.",
        f"Within {feeds.LINGER_S:g} s you get",
        f"`retry` says to wait {stream.RETRY_MS // 1000} s",
        f"| `state` | every {'second' if feed.BEAT_S == 1 else ''},",
        f"once in a {'quarter second' if feed.READ_EVERY_S == 0.25 else ''},",
        f"pauses {'four times' if feed.PAUSE_SHARE == 4 else ''} as long",
    ),
    "dead letters": (
        f"read dead letters at once | {dead_letters.TURNS.at_once} of a process",
        f"wait, {dead_letters.TURNS.timeout_s} s and {dead_letters.TURNS.of_tenant_max} of a tenant",
        f"one read looks at | {RECENT_MAX:,} of each partition",
        f"dead letters of one replay | {ORIGINS_MAX} | 400",
        f"body of a replay | {dead_letters.BODY_BYTES_MAX // KiB} KiB | 413",
        f"a read, and of a replay | {READ_S:g} s, {SEND_S:g} s | 503",
        f"`limit` is {dead_letters.LIMIT_DEFAULT}, at most {dead_letters.LIMIT_MAX}",
        f"the latest {REPLAYS_TENANT_MAX} replays of each tenant are stored, {SHOWN} are listed",
    ),
    "connections": (
        f"headers | {SERVER.head_bytes_max // KiB} KiB, {SERVER.headers_max} headers | 431",
        f"URL | {SERVER.url_bytes_max // KiB} KiB | 414",
        f"of a body | {SERVER.framing_bytes_max // KiB} KiB; both are discarded | 431",
        f"chunks of a body | {SERVER.chunks_max:,} | 413",
        f"after its answer | {SERVER.discarded_bytes_max // MiB} MiB | connection closed",
        f"{SERVER.linger_s:g} s or {SERVER.linger_bytes_max // MiB} MiB | reset",
        f"(pipelining) | {SERVER.pipelined_max} |",
        f"until the headers end | {SERVER.head_s:g} s | 408",
        f"without a byte of the body | {SERVER.body_idle_s:g} s | 408",
        (
            f"whole body | {SERVER.body_s:g} s; paths that take events: {request_body.BODY_S:g} s above"
            f" {SMALL_BYTES_MAX // KiB} KiB | 408"
        ),
        f"between two requests | {SERVER.idle_s:g} s",
        f"before {SERVER.idle_s:g} s, and pass bodies on as they come or within {SERVER.body_s:g} s",
        f"(less than {RATE_BYTES_PER_S // KiB} KiB/s) | {SERVER.write_s:g} s",
        f"`ODOMETER_CONNECTIONS_MAX` ({CONNECTIONS_MAX:,})",
        "connections of one tenant | half of them",
        (
            f"from {sending.COUNTED_FROM_BYTES // KiB} KiB are sent in pieces of"
            f" {sending.PIECE_BYTES // KiB} KiB"
        ),
        f"until they are read: {sending.UNREAD_BYTES_MAX // MiB} MiB in a process",
    ),
    "bodies of events": (
        f"a body | {body.BODY_BYTES_MAX // MiB} MiB decompressed; {body.ITEMS_MAX:,} objects",
        f"{body.LINES_MAX:,} lines; {structure.DEPTH_MAX} levels",
        (
            f"JSON | {structure.CONTAINERS_MAX:,} arrays and objects, {structure.COMMAS_MAX:,} commas outside texts,"
            f" {structure.MEMBERS_MAX:,} members"
        ),
        (
            f"{body.ITEMS_MAX:,} log records, metrics or data points of a kind;"
            f" {wire.ATTRIBUTES_MAX:,} attributes, {wire.ATTRIBUTES_MAX:,} values of attributes,"
            f" {wire.PARTS_MAX:,} events"
        ),
        f"{wire.FIELDS_MAX:,} fields",
        (
            f"{objects.RECORD_BYTES_MAX // MiB} MiB, with the fields that the query or an envelope adds;"
            f" {body.TEXT_CHARS_MAX:,} characters of one such field"
        ),
        (
            f"an event | {limits.EVENT_BYTES_MAX // KiB} KiB; {complete.EVENT_FIELDS_MAX} fields, unknown"
            f" ones included; {limits.LABELS_MAX} labels, {limits.TAGS_MAX} tags"
        ),
        (
            f"(minus {records.APPEND_DELAY_MS // limits.MINUTE_MS} minutes) before, and"
            f" {limits.AHEAD_MS_MAX // limits.HOUR_MS} hour"
            f" (minus {records.CLOCKS_DIFFER_MS // limits.SECOND_MS} second)"
        ),
        f"the first {records.LISTED_MAX} rejections and skips",
        f"more than {body_reader.INLINE_BYTES_MAX // KiB} KiB is parsed in a thread",
        f"pieces of {request_body.PLAIN_PIECE_BYTES // KiB} KiB",
        f"One body of up to {body_reader.MEDIUM_BYTES_MAX // MiB} MiB and one larger body",
        f"a body of more than {memory.LARGE_BYTES_MIN // MiB} MiB",
        (
            f"within {producer.ACK_S:g} s if Kafka is not available or slow, or if"
            f" {producer.HELD_BYTES_MAX // MiB} MiB"
        ),
        (
            f"at most half of the {producer.HELD_BYTES_MAX // MiB} MiB, and"
            f" {producer.HELD_BYTES_MAX * SMALL_PART / MiB:g} MiB are for requests of at most"
            f" {SMALL_BYTES_MAX // KiB} KiB"
        ),
        (
            f"hold at most {request_body.HELD_BYTES_MAX // MiB} MiB. One tenant gets at most"
            f" {request_body.HELD_BYTES_MAX * ROOM * request_body.TENANT_PART / MiB:g} MiB"
        ),
    ),
    "other bodies": (
        (
            f"at most {usage.BODY_BYTES_MAX // KiB} KiB for `/v1/usage`,"
            f" {endpoints.BODY_BYTES_MAX // KiB} KiB for a key, {endpoints.IMPORT_BYTES_MAX // MiB} MiB for"
            f" an import of {keys.IMPORT_MAX:,} keys, {users.BODY_BYTES_MAX // MiB} MiB for Open WebUI"
        ),
        (
            f"{structure.DEPTH_MAX} levels; {endpoints.COMMAS_MAX} commas outside texts for a key,"
            f" {users.COMMAS_MAX:,} for Open WebUI"
        ),
        (
            f"at most {json_body.HELD_BYTES_MAX // MiB} MiB of them at the same time. One tenant gets"
            f" {json_body.HELD_BYTES_MAX * ROOM * json_body.TENANT_PART / MiB:g} MiB, and"
            f" {json_body.HELD_BYTES_MAX * SMALL_PART / MiB:g} MiB are for bodies of at most"
            f" {SMALL_BYTES_MAX // KiB} KiB"
        ),
    ),
    "keys": (
        (
            f"at most {key_cache.KEYS_MAX:,} valid keys. Admins may create up to"
            f" {key_shares.TENANT_KEYS_MAX:,} of one tenant, and leave {key_shares.OPERATOR_KEYS:,}"
        ),
        (
            f"listed for {key_shares.ENDED_KEPT_MS // limits.DAY_MS} days, but only the latest"
            f" {key_shares.TENANT_ENDED_MAX} of a tenant"
        ),
        f"At most {key_shares.SECRETS_MAX} secrets of a key",
        f"After {key_records.TURN_S:g} s of waiting the answer is a 503",
        f"the latest {audit.AUDIT_TENANT_MAX:,} lines of each tenant",
        f"one line a minute, a process {failures.LINES_MAX}",
        f"of one /{failures.IPV6_PREFIX} are one source",
        *(f"`{name}`" for name in EXPORTER_HEADERS),
    ),
    "quotas": (
        f"`ODOMETER_TENANT_SERIES` | {TENANT_SERIES.of('acme'):,}",
        (
            f"stored for {REMEMBERED_MS // limits.HOUR_MS} to"
            f" {(REMEMBERED_MS + SLICE_MS) // limits.HOUR_MS} h"
        ),
        f"always have {TABLE_SERIES_MIN} series",
        f"one request, which has at most {body.ITEMS_MAX:,} events",
    ),
    "directory": (
        (
            f"at most {stored.USERS_MAX:,} users, {stored.GROUPS_MAX:,} groups with"
            f" {stored.MEMBERS_MAX:,} members each and {stored.TENANT_MEMBERS_MAX:,} members together, and"
            f" {stored.CHATS_MAX:,} chat titles"
        ),
        f"and address, deleted ones included | {stored.USERS_MAX:,} of",
        f"description, deleted ones included | {stored.GROUPS_MAX:,} of",
        f"members of one group | {stored.MEMBERS_MAX:,} |",
        f"a user in each group | {stored.TENANT_MEMBERS_MAX:,} of",
        f"topic, deleted ones included | {stored.CHATS_MAX:,} of",
        f"tags and models | {chats.CHATS_MAX:,} of",
    ),
    "questions": (
        f"all its sections together | {selection.PAGES_MAX:,}",
        f"bytes of these pages, decoded | {bounds.ANSWER_BYTES_MAX // MiB} MiB",
        f"of all sections together | {bounds.CELLS_MAX:,}",
        f"distinct counts | {selection.SKETCH_CELLS_MAX:,}",
        f"an answer of `/v1/usage`, all its questions together | {sections.ROWS_MAX:,}",
        f"cells (rows x columns) of it | {sections.ANSWER_CELLS_MAX:,}",
        f"before distinct users are counted | {sums.ROWS_MAX:,}",
        f"of all questions | {large_answers.SMALL_BYTES_MAX // MiB} MiB decoded",
        f"read at once | {names_cache.NAMES_AT_ONCE:,} of a view",
        f"a selection goes through | {generation_state.SELECT_AT_ONCE:,}",
        f"x parts (`*text*`) that they are searched for | {selection.LOOKS_MAX:,} | 400",
        (
            f"that are read at once | {slots.QUESTIONS.of_tenant} of a tenant,"
            f" {slots.QUESTIONS.at_once} of a process"
        ),
        f"not in the caches | {slots.QUESTIONS.of_tenant_max} of a tenant",
        f"| | {slots.QUESTIONS.most} of a process | 503",
        f"Of one tenant, {arrivals.A_ROUND} requests begin",
        f"wait of a question | {slots.QUESTIONS.timeout_s:g} s",
        f"pieces of {large_answers.PIECE_BYTES_MAX // KiB} KiB",
        f"read at once | 1 of a tenant, {slots.LARGE.at_once} of a process",
        f"or waiting | {slots.LARGE.of_tenant_max} of a tenant",
        f"| | {slots.LARGE.most} of a process | 503",
        f"wait of a large question | {slots.LARGE_TIMEOUT_S:g} s",
        f"time in which an answer is read, when it has its turn | {reader.READ_S:g} s | 503",
        (
            f"more than {bounds.CELLS_MANY:,} cells (rows or filled buckets x (columns + 1)), and lists of"
            f" more than {bounds.CELLS_MANY // directory.USER_CELLS:,} users, that"
            f" are made at once | {slots.BODIES.at_once} of a process"
        ),
        f"others wait, {slots.BODIES.timeout_s:g} s and {slots.BODIES.of_tenant_max} of a tenant at most",
        f"bodies from {bounds.CELLS_FEW:,} cells",
        f"under each of {slots.ROUNDS} reads",
    ),
}
"""Parts of sentences, with the limits of the code in them."""


@pytest.mark.parametrize("of", [*STATED])
def test_a_limit_in_the_readme_is_that_of_the_code(of: str) -> None:
    assert [part for part in STATED[of] if part not in README] == []
    assert SHARE == 2  # half of the connections
    assert producer.TENANT_PART == 1 / 2
