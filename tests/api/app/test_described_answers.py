"""What `/openapi.json` describes is what the API answers: schemathesis asks every operation, with what the
description allows and with what it does not.

A status that is not described, a body that differs from its schema and a 5xx are failures. The requests
follow from the description alone (hypothesis, derandomized), so that a run can be repeated.
`ODOMETER_DESCRIBED_EXAMPLES` says how many of each sort an operation gets.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app.main import wall_clock_ms
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from schemas.limits import HOUR_MS
from streams.worker.settings import WorkerSettings
from tests.api.counters import Event, pack
from tests.deploy.local.test_servers import create_topic
from tests.real.harness.api_process import api_of

pytestmark = pytest.mark.servers

EXAMPLES: Final = int(os.environ.get("ODOMETER_DESCRIBED_EXAMPLES", "4"))
ENDLESS: Final = ("/v1/stream",)
"""An answer without end has tests of its own."""
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ANSWER_S: Final = 30


@pytest.fixture
def api(redis_url: str, kafka: Server, topic: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a whole API, with counters of two days."""
    now_ms = wall_clock_ms()
    log = [
        Event(now_ms - 1 - n * HOUR_MS // 2, model=f"m{n % 3}", input_tokens=n, cost_nano_usd=n)
        for n in range(90)
    ]
    pack(
        log, now_ms=now_ms, topic=topic, created_ms=now_ms, complete_ms=(now_ms,), refused=(0,)
    ).write(redis_url)
    asyncio.run(create_topic(kafka, topic))
    worker = WorkerSettings(kafka=kafka.address, redis=redis_url, topic=topic)
    with api_of(worker, tmp_path) as server:
        yield f"http://{server.address}"


def test_every_operation_answers_as_it_is_described(api: str, redis_url: str) -> None:
    key = asyncio.run(create_key(redis_url, name="all", tenant="acme", role="super-admin"))
    schema = schemathesis.openapi.from_url(f"{api}/openapi.json")
    failed: dict[str, str] = {}
    asked = 0
    with requests.Session() as session:
        session.headers["authorization"] = f"Bearer {key}"

        def ask(case: Any) -> None:
            """Keeps the failure: hypothesis would ask again for a shorter one, and the answer may differ."""
            nonlocal asked
            asked += 1
            try:
                case.call_and_validate(
                    base_url=api, session=session, checks=CHECKS, timeout=ANSWER_S
                )
            except (ExceptionGroup, Failure) as failure:
                failed[case.operation.label] = _said(failure)

        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            if operation.path not in ENDLESS:
                for mode in GenerationMode:
                    _repeat(ask, operation.as_strategy(generation_mode=mode))
    assert failed == {}, f"after {asked} requests"
    assert asked > 100 * EXAMPLES


def _repeat(ask: Callable[[Any], None], cases: Any) -> None:
    """`ask` with EXAMPLES of the cases, always the same ones."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def run(case: Any) -> None:
        ask(case)

    with suppress(Unsatisfiable):  # some operations allow everything
        run()


def _said(failure: BaseException) -> str:
    parts = failure.exceptions if isinstance(failure, ExceptionGroup) else [failure]
    return "\n".join(f"{type(part).__name__}: {part}" for part in parts)[:1500]
