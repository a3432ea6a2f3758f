"""The tier of hours: what /v1/usage answers about 90 to 400 days ago, and where there are no hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import ceil_to, floor_to
from schemas.units import instant_to_ms, iso
from tests.api.counters import Event, pack
from tests.api.usage.law import NOW_MS, Api, api_on

AGO_MS: Final = floor_to(NOW_MS - 300 * DAY_MS, DAY_MS) + 9 * HOUR_MS
"""09:00 of 2025-07-02: quarter-hours are not kept any more, hours are."""
AN_HOUR: Final = {"from": iso(AGO_MS), "to": iso(AGO_MS + HOUR_MS)}


@pytest.fixture
def api(redis_url: str) -> Iterator[Api]:
    yield from api_on(redis_url)


def every_hour(start_ms: int, end_ms: int) -> list[Event]:
    """An event in each, at 10 minutes past; its tokens are the number of the hour in the range."""
    return [
        Event(at_ms + 10 * MINUTE_MS, input_tokens=number)
        for number, at_ms in enumerate(range(start_ms, end_ms, HOUR_MS), 1)
    ]


def requests_in(rows: list[dict[str, Any]]) -> list[int]:
    return [row["requests"] for row in rows]


def test_a_range_of_some_hours_is_answered_long_after(api: Api) -> None:
    api.holds(every_hour(AGO_MS - 3 * HOUR_MS, AGO_MS + 3 * HOUR_MS))
    found = api.ask(AN_HOUR)
    assert found["range"] == AN_HOUR
    assert found["totals"]["requests"] == 1
    found = api.ask(
        {"from": iso(AGO_MS - HOUR_MS), "to": iso(AGO_MS + HOUR_MS), "granularity": "1h"}
    )
    assert requests_in(found["rows"]) == [1, 1]


def test_local_days_and_months_of_a_zone_of_whole_hours(api: Api) -> None:
    start_ms = instant_to_ms(datetime(2025, 5, 30, tzinfo=UTC))
    api.holds(every_hour(start_ms, start_ms + 40 * DAY_MS))
    june = {"from": "2025-06-01", "to": "2025-07-01", "tz": "Europe/Berlin"}
    (month,) = api.ask(june | {"granularity": "1mo"})["rows"]
    assert (month["time"], month["requests"]) == ("2025-06-01T00:00:00+02:00", 30 * 24)
    first, *_, last = api.ask(june | {"granularity": "1d", "measures": "input_tokens"})["rows"]
    of_first = range(2 * 24 - 2 + 1, 3 * 24 - 2 + 1)  # its first event is that of 22:00 in UTC
    assert first["input_tokens"] == sum(of_first)
    assert last["time"] == "2025-06-30T00:00:00+02:00"


def test_a_total_in_a_zone_of_half_hours_says_what_it_covers(api: Api) -> None:
    api.holds(every_hour(AGO_MS - DAY_MS, AGO_MS + 2 * DAY_MS))
    day = {"from": "2025-07-02", "to": "2025-07-03", "tz": "Asia/Kolkata"}
    found = api.ask(day | {"granularity": "none"})
    assert found["range"] == {"from": "2025-07-01T19:00:00Z", "to": "2025-07-02T19:00:00Z"}
    assert found["totals"]["requests"] == 24
    refused = api.get(day | {"granularity": "1d"})
    assert (refused.status_code, refused.json()["parameter"]) == (400, "tz")
    assert "only buckets of 1h in UTC are stored" in refused.json()["detail"]
    assert api.ask(day | {"granularity": "1d", "from": "now-20d", "to": "now"})["rows"] == []


def test_this_month_beside_that_of_the_year_before(api: Api) -> None:
    api.holds(every_hour(NOW_MS - 398 * DAY_MS, NOW_MS - 370 * DAY_MS))
    for zone in ("UTC", "America/New_York"):
        asked = {"from": "2025-04-01", "to": "2025-04-20", "tz": zone, "granularity": "1d"}
        assert requests_in(api.ask(asked)["rows"]) == [24] * 19


# -- counters that a rebuild copied from days ------------------------------------------------------


def holds_copied(api: Api, log: list[Event], hours_from_ms: int) -> None:
    generation = next(api._generations)
    counters = pack(log, generation=generation, now_ms=NOW_MS, hours_from_ms=hours_from_ms)
    counters.write(api._redis_url)


def test_before_the_first_hours_days_answer_and_never_zeros(api: Api) -> None:
    """Also the first question of a process, which has not read the counters yet."""
    start_ms, from_ms = floor_to(AGO_MS, DAY_MS), floor_to(NOW_MS - 91 * DAY_MS, DAY_MS)
    log = every_hour(start_ms, start_ms + 3 * DAY_MS)
    log += every_hour(from_ms - DAY_MS, from_ms + DAY_MS)
    holds_copied(api, log, from_ms)
    whole = {"from": iso(AGO_MS), "to": iso(NOW_MS), "granularity": "none"}
    found = api.ask(whole)
    assert found["range"]["from"] == iso(ceil_to(AGO_MS, DAY_MS))
    assert found["totals"]["requests"] == (2 + 2) * 24
    assert requests_in(api.ask(whole | {"granularity": "1d"})["rows"]) == [24] * 4
    refused = api.get(AN_HOUR)
    assert (refused.status_code, refused.json()["parameter"]) == (400, "from")
    assert "without hours" in refused.json()["detail"]
    for asked in ({"granularity": "1h"}, {"granularity": "1d", "tz": "Europe/Berlin"}):
        refused = api.get(whole | {"to": iso(AGO_MS + 30 * DAY_MS)} | asked)
        assert (refused.status_code, refused.json()["parameter"]) == (400, "granularity")
        assert "without hours" in refused.json()["detail"]
    both = {"questions": [whole, AN_HOUR]}
    refused = api._runner.run(api._client.post("/v1/usage", json=both))
    assert (refused.status_code, refused.json()["parameter"]) == (400, "questions[1].from")
    hours = {"from": iso(from_ms), "to": iso(from_ms + DAY_MS), "granularity": "1h"}
    assert requests_in(api.ask(hours)["rows"]) == [1] * 24


def test_a_process_notices_that_other_counters_have_hours(api: Api) -> None:
    log = every_hour(AGO_MS - DAY_MS, AGO_MS + DAY_MS)
    holds_copied(api, log, floor_to(NOW_MS - 91 * DAY_MS, DAY_MS))
    assert api.get(AN_HOUR).status_code == 400
    api.holds(log)
    assert api.ask(AN_HOUR)["totals"]["requests"] == 1
    holds_copied(api, log, floor_to(NOW_MS - 91 * DAY_MS, DAY_MS))
    assert api.get(AN_HOUR).status_code == 400
