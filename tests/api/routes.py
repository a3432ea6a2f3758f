"""The routes of the application, and what may be asked of each: for the tests that ask all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from api.openai.endpoints import PREFIX as OPENAI_PREFIX
from api.openai.questions import PATHS as OPENAI_PATHS
from api.page import endpoints as page_endpoints
from api.query.measures import offered_by
from api.usage.groups.person_dimensions import person_dimensions
from schemas.catalog.views import DEFAULT
from schemas.limits import HOUR_MS
from tests.api.counters import NOW_MS, Event

TENANTS: Final = ("acme", "beta", "ütil")
"""Those with counters; each name of theirs has the tenant in it."""
NOBODY: Final = "nobody"

Sent = dict[str, Any]


def events_of(tenants: tuple[str, ...]) -> Iterator[Event]:
    """In an order in which the ids of tenants and series differ from those of one tenant alone."""
    for n in range(60):
        tenant = TENANTS[n % 3]
        if tenant in tenants:
            yield Event(
                at_ms=NOW_MS - 1 - n * HOUR_MS // 2,
                tenant=tenant,
                user=f"u-of-{tenant}",
                provider=f"p-of-{tenant}",
                model=f"m{n % 4}-of-{tenant}",
                agent=f"a{n % 2}-of-{tenant}",
                input_tokens=n * n,
                cost_nano_usd=n * 333,
                latency_ms=n,
            )


@st.composite
def some(
    draw: st.DrawFn, options: dict[str, st.SearchStrategy[str]], questions: list[Sent]
) -> Sent:
    """A question that is answered, and perhaps one thing more, which may be refused."""
    sent = dict(draw(st.sampled_from(questions)))
    for name in draw(st.lists(st.sampled_from([*options]), max_size=1)):
        sent[name] = draw(options[name])
    return sent


# -- what may be asked -----------------------------------------------------------------------------

VALUES: Final = st.sampled_from(
    [f"m1-of-{tenant}" for tenant in TENANTS]
    + [f"a1-of-{tenant}" for tenant in TENANTS]
    + [f"p-of-{tenant}" for tenant in TENANTS]
    + ["*", "m*", "a*", "p*", "of", "", "llm"]
)
TIMES: Final = st.sampled_from(["now-7d", "now-36h", "2026-02-07", "yesterday"])
BY_NAME: Final = {
    "measures": st.sampled_from(
        [*offered_by(DEFAULT), *["requests", "cost_usd", "avg_latency_ms"] * 9]
    ),
    "from": TIMES,
    "to": st.sampled_from(["now", "today", "2026-02-08"]),
    "granularity": st.sampled_from(["1h", "1d", "none", "auto"]),
    "tz": st.sampled_from(["UTC", "Asia/Kathmandu"]),
    "group_by": st.sampled_from(
        [*DEFAULT.kept_dimensions, *["provider", "agent", "model"] * 3, *person_dimensions(DEFAULT)]
    ),
    "order_by": st.just("-requests"),
    "limit": st.sampled_from(["1", "2", "50"]),
    "fill": st.sampled_from(["zero", "null"]),
    "compare": st.sampled_from(["previous", "previous_week", "previous_year"]),
    "compare_from": TIMES,
    "compare_to": st.sampled_from(["now", "2026-02-08"]),
    "week_start": st.just("sunday"),
    "max_points": st.sampled_from(["1", "30"]),
    "ignore_case": st.just("true"),
    "times": st.just("ms"),
    "cumulative": st.just("true"),
    "having": st.sampled_from(["requests>1", "cost_usd<=0.1,events!=3"]),
    "layout": st.just("wide"),
    "cursor": st.sampled_from(["", "WzEsIiIsMCwxLG51bGwsW1tdLFtdXSwiIl0"]),
    "format": st.sampled_from(["json", "csv", "ndjson", "spreadsheet"]),
}
FILTERS: Final = {name + end: VALUES for name in DEFAULT.kept_dimensions for end in ("", "!")}
OF_PEOPLE: Final = {name + end: VALUES for name in person_dimensions(DEFAULT) for end in ("", "!")}
USAGE: Final = some(
    {**BY_NAME, **FILTERS, **OF_PEOPLE},
    [
        {},
        {"measures": "requests,cost_usd,avg_latency_ms", "from": "now-7d", "granularity": "1h"},
        {"group_by": "agent,model", "measures": "events", "model!": "m1-of-acme"},
        {"group_by": "model", "limit": "2", "from": "2026-02-07", "model": "m*"},
        {"group_by": "provider", "granularity": "1d", "fill": "zero", "format": "csv"},
        {"agent": "a1-of-beta", "compare": "previous"},
        {"group_by": "model", "limit": "1", "compare_from": "2026-02-07", "compare_to": "now"},
        {"group_by": "model", "limit": "1", "having": "requests>1", "order_by": "model"},
        {"group_by": "model", "layout": "wide", "granularity": "1h", "from": "now-36h"},
        {"group_by": "user_name,user_email,user_group", "user_email": "*OF*", "from": "now-7d"},
        {"model": "*of*", "ignore_case": "true", "max_points": "30", "times": "ms"},
    ],
)
EXPORT: Final = some(
    {
        "tier": st.sampled_from(["1d", "15m", "1m"]),
        "from": TIMES,
        "dimensions": st.sampled_from(["kind", "model,provider"]),
        "measures": st.just("events"),
    },
    [{"view": view, "format": "arrow"} for view in ("total", "model", "user_agent_model")],
)
DIMENSION: Final = some(
    {"from": TIMES, "to": BY_NAME["to"], "limit": BY_NAME["limit"], **FILTERS},
    [{}, {"search": "of"}, {"search": "beta"}, {"from": "now-7d"}],
)
AGENTLENS: Final = some(
    {
        "to": st.just("2026-02-08"),
        "granularity": st.sampled_from(["hour", "day", "week"]),
        "agentId": VALUES,
        "model": VALUES,
        "provider": VALUES,
    },
    [{}, {"granularity": "day", "from": "2026-02-01"}, {"agentId": "a1-of-acme"}],
)
LIVEKIT: Final = some(
    {"user_email": st.just("beta@of-beta.test"), "assistant_id": VALUES},
    [{}, {"start_date": "2026-02-01"}, {"end_date": "2026-02-08"}],
)
LIVEKIT_PATHS: Final = [
    f"/admin/analytics/{path}"
    for path in (
        "dashboard",
        "calls/by-user",
        "calls/by-phone-number",
        "calls/by-service",
        "tokens/summary",
        "tokens/by-user",
        "tokens/by-model",
        "tokens/by-assistant",
    )
]
OPENAI: Final = some(
    {
        "group_by": st.sampled_from(["model", "user_id", "project_id"]),
        "models": VALUES,
        "user_ids": VALUES,
        "line_items": st.sampled_from([f"p-of-{tenant}, m1-of-{tenant}" for tenant in TENANTS]),
        "bucket_width": st.sampled_from(["1h", "1m"]),
        "limit": st.just("1"),
        "page": st.just("page_x"),
    },
    [
        {"start_time": str(NOW_MS // 1000 - 86_400)},
        {"start_time": str(NOW_MS // 1000 - 86_400), "group_by": "user_id"},
    ],
)
OPENWEBUI: Final = some(
    {
        "group_id": st.sampled_from([f"g-of-{tenant}" for tenant in TENANTS]),
        "granularity": st.just("hourly"),
        "metric": st.just("tokens"),
        "limit": st.just("1"),
    },
    [{}, {"start_date": str(NOW_MS // 1000 - 86_400)}],
)
OPENWEBUI_PATHS: Final = [
    f"/api/v1/analytics/{name}" for name in ("daily", "models", "summary", "tokens", "users")
]
OPENWEBUI_MESSAGES: Final = some(
    dict.fromkeys(("model_id", "user_id", "chat_id"), VALUES),
    [{"model_id": f"m1-of-{tenant}"} for tenant in TENANTS]
    + [{"chat_id": f"c-of-{tenant}"} for tenant in TENANTS],
)
CALLS: Final = some(
    dict.fromkeys(("model", "agent", "provider", "user"), VALUES) | {"limit": st.just("1")},
    [{}, {"model": "m1-of-beta"}],
)
ASSET: Final = page_endpoints.routes()[1].path
NOTHING: Final[st.SearchStrategy[Sent]] = st.just({})


@dataclass(frozen=True)
class Row:
    """What may be asked of a route. `is_open`: without a key, and it says nothing of anybody."""

    sent: st.SearchStrategy[Sent]
    path: st.SearchStrategy[str]
    is_open: bool = False


def row(path: str, sent: st.SearchStrategy[Sent] = NOTHING, *, is_open: bool = False) -> Row:
    return Row(sent, st.just(path), is_open)


def of_each(path: str) -> Row:
    """A path with a name of each tenant in it."""
    return Row(NOTHING, st.sampled_from([path.format(tenant) for tenant in TENANTS]))


ROUTES: Final[dict[tuple[str, str], Row]] = {
    ("GET", "/healthz"): row("/healthz", is_open=True),
    ("GET", "/readyz"): row("/readyz", is_open=True),
    ("GET", "/api/health"): row("/api/health", is_open=True),
    ("GET", "/openapi.json"): row("/openapi.json", is_open=True),
    ("GET", "/docs"): row("/docs", is_open=True),
    ("GET", "/v1/usage"): row("/v1/usage", USAGE),
    ("POST", "/v1/usage"): row("/v1/usage", USAGE),
    ("GET", "/v1/stream"): row("/v1/stream", USAGE),
    ("GET", "/v1/dimensions/{name}"): Row(
        DIMENSION, st.sampled_from([f"/v1/dimensions/{name}" for name in DEFAULT.kept_dimensions])
    ),
    ("GET", "/v1/measures"): row("/v1/measures"),
    ("GET", "/v1/views"): row("/v1/views"),
    ("GET", "/"): row("/", is_open=True),
    ("GET", ASSET): row(ASSET.replace("{name:path}", "main.js"), is_open=True),
    ("GET", "/v1/calls"): row("/v1/calls", CALLS),
    ("GET", "/v1/status"): row("/v1/status"),
    ("GET", "/metrics"): row("/metrics"),
    ("GET", "/v1/dead-letters"): row("/v1/dead-letters"),
    ("GET", "/v1/dead-letters/audit"): row("/v1/dead-letters/audit"),
    ("GET", "/v1/dead-letters/{origin}"): row("/v1/dead-letters/usage.events:0:1"),
    ("GET", "/v1/export"): row("/v1/export", EXPORT),
    ("GET", "/v1/session"): row("/v1/session"),
    ("GET", "/v1/keys"): row("/v1/keys"),
    ("GET", "/v1/keys/audit"): row("/v1/keys/audit"),
    ("GET", "/api/analytics/llm"): row("/api/analytics/llm", AGENTLENS),
    ("GET", "/api/events"): row("/api/events", st.just({"eventType": "llm_response"})),
    ("GET", "/api/events/{id:path}"): of_each("/api/events/e-of-{}"),
    ("GET", "/api/agents"): row("/api/agents"),
    ("GET", "/api/agents/{id:path}"): of_each("/api/agents/a1-of-{}"),
    ("GET", "/api/v1/analytics/messages"): row("/api/v1/analytics/messages", OPENWEBUI_MESSAGES),
    ("GET", "/api/v1/analytics/models/{model_id:path}/chats"): of_each(
        "/api/v1/analytics/models/m1-of-{}/chats"
    ),
    ("GET", "/api/v1/analytics/models/{model_id:path}/overview"): of_each(
        "/api/v1/analytics/models/m1-of-{}/overview"
    ),
    ("GET", "/api/v1/groups"): row("/api/v1/groups"),
    ("GET", "/api/v1/groups/"): row("/api/v1/groups/"),
    ("GET", "/api/v1/groups/id/{id:path}"): of_each("/api/v1/groups/id/g-of-{}"),
    ("GET", "/api/v1/groups/id/{id:path}/export"): of_each("/api/v1/groups/id/g-of-{}/export"),
    ("GET", "/api/v1/groups/id/{id:path}/info"): of_each("/api/v1/groups/id/g-of-{}/info"),
    ("POST", "/api/v1/groups/id/{id:path}/users"): of_each("/api/v1/groups/id/g-of-{}/users"),
    ("GET", "/api/v1/users"): row("/api/v1/users", st.sampled_from([{}, {"query": "of"}])),
    ("GET", "/api/v1/users/"): row("/api/v1/users/"),
    ("GET", "/api/v1/users/all"): row("/api/v1/users/all"),
    ("GET", "/api/v1/users/search"): row("/api/v1/users/search", st.just({"query": "beta"})),
    ("GET", "/api/v1/users/{id:path}"): of_each("/api/v1/users/u-of-{}"),
    **{("GET", path): row(path, LIVEKIT) for path in LIVEKIT_PATHS},
    **{
        ("GET", OPENAI_PREFIX + path.path): row(OPENAI_PREFIX + path.path, OPENAI)
        for path in OPENAI_PATHS
    },
    **{("GET", path): row(path, OPENWEBUI) for path in OPENWEBUI_PATHS},
    ("GET", ""): row("/api/whatever"),
}
GROUP: Final = "/api/v1/groups/id/g-of-beta"
CHANGING: Final[dict[tuple[str, str], tuple[str, Any]]] = {
    ("POST", "/v1/keys"): ("/v1/keys", {"name": "x", "tenants": ["beta"]}),
    ("POST", "/v1/keys/import"): (
        "/v1/keys/import",
        {"keys": [{"name": "x", "tenants": ["beta"], "key": "sk-0123456789-of-beta"}]},
    ),
    ("POST", "/v1/session"): ("/v1/session", {"key": "sk-1-viewer-0123456789"}),
    ("DELETE", "/v1/session"): ("/v1/session", None),
    ("POST", "/v1/tokens"): ("/v1/tokens", {"only": {"agent": "a1-of-beta"}}),
    ("DELETE", "/v1/keys/{id}"): ("/v1/keys/key-0000100002", None),
    ("POST", "/v1/keys/{id}/rotate"): ("/v1/keys/key-0000100003/rotate", {"grace_s": 0}),
    ("POST", "/api/v1/groups/create"): (
        "/api/v1/groups/create",
        {"name": "x", "description": "x", "id": "g-of-beta"},
    ),
    ("POST", "/api/v1/groups/id/{id:path}/update"): (
        f"{GROUP}/update",
        {"name": "x", "description": "x"},
    ),
    ("POST", "/api/v1/groups/id/{id:path}/users/add"): (f"{GROUP}/users/add", {"user_ids": ["x"]}),
    ("POST", "/api/v1/groups/id/{id:path}/users/remove"): (
        f"{GROUP}/users/remove",
        {"user_ids": ["u-of-beta"]},
    ),
    ("DELETE", "/api/v1/groups/id/{id:path}/delete"): (f"{GROUP}/delete", None),
    ("POST", "/api/v1/users/{id:path}/update"): (
        "/api/v1/users/u-of-beta/update",
        {"name": "x", "email": "x@beta.test"},
    ),
    ("DELETE", "/api/v1/users/{id:path}"): ("/api/v1/users/u-of-beta", None),
    ("POST", "/api/v1/auths/add"): (
        "/api/v1/auths/add",
        {"name": "x", "email": "x", "id": "u-of-beta"},
    ),
}
"""Routes that change something, each with a request that would change what is beta's."""
REPLAYING: Final = {("POST", "/v1/dead-letters/replay")}
"""Needs dead letters in a real Kafka: tests/api/dead_letters."""
