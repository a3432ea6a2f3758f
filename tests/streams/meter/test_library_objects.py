"""The meter reads a library's objects as the API does, without the API's packages."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.servers import plain_environment
from deploy.settings import CHECKOUT
from schemas.errors import InvalidEvent
from schemas.event.event_struct import EventStruct
from schemas.formats.objects import parse_with
from schemas.formats.otel.encoding import OtelSpans
from streams.meter.library_objects import _validate
from tests.oracles.event_logs import event
from tests.schemas.event.test_usage_event import VALUES
from tests.schemas.formats.fixtures import CONTEXT, NAMES, fixture, read

NAMED = replace(CONTEXT, source="app")


def both(body: object) -> tuple[list[Any], list[Any]]:
    """Records and refused fields: by the API's parser, and by the meter's."""
    full, light = read(body, None, NAMED), parse_with(_validate, body, None, NAMED)
    assert full.skipped == light.skipped
    return (
        [[one.record for one in full.events], [one.index for one in full.refused]],
        [[one.record for one in light.events], [one.index for one in light.refused]],
    )


@pytest.mark.parametrize("name", NAMES)
def test_real_bodies_make_the_same_records(name: str) -> None:
    body = fixture(name)
    full, light = both(body)
    assert full == light
    assert not isinstance(body, OtelSpans) or full[0]


@given(st.sampled_from([*EventStruct.__struct_fields__, "typo"]), VALUES)
def test_any_value_of_a_field_is_accepted_by_both_or_by_none(name: str, value: Any) -> None:
    fields = {**event(), name: value}
    full, light = both({"payload": fields, "format": "neutral"})
    assert full == light


@given(st.sampled_from([*EventStruct.__struct_fields__, "typo"]), VALUES)
def test_a_cloudevent_is_accepted_by_both_or_by_none(name: str, value: Any) -> None:
    data = {**event(), name: value}
    body = {"specversion": "1.0", "type": "t", "id": "i", "source": "s", "data": data}
    full, light = both(body)
    assert full == light


def test_a_refusal_names_the_field() -> None:
    with pytest.raises(InvalidEvent) as wrong:
        _validate({"id": "e", "source": "s", "time": "2026-02-08T10:00:00Z", "kind": "llm",
                   "labels": {"a": 3}})  # fmt: skip
    assert wrong.value.field.startswith("labels")
    assert wrong.value.detail == "Expected `str`, got `int`"


def test_it_needs_none_of_the_server_s_packages() -> None:
    program = """
        import json, sys

        HEAVY = {"aiokafka", "faust", "google", "numpy", "opentelemetry", "pydantic", "redis",
                 "starlette", "xxhash"}

        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in HEAVY:
                    raise ModuleNotFoundError(f"{name} is blocked")

        sys.meta_path.insert(0, Blocked())
        from streams.meter.library_objects import ObjectReader
        from streams.meter.queued import LibraryObject

        for answer in json.load(sys.stdin):
            read = ObjectReader({"source": "app"}).read(LibraryObject("seed", 0, answer, None, {}))
            print(len(read.events), len(read.refused))
    """
    answers = [fixture("openai/chat"), fixture("livekit/stt"), {"kind": "llm"}]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        input=msgspec.json.Encoder(decimal_format="number").encode(answers).decode(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=CHECKOUT,
        env=plain_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["1 0", "1 0", "0 1"]
