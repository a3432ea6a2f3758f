"""`odometer explain` and how it reads files: every format, every compression, lines or a document."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.send.reading import FileBody, bodies, file_name, opened
from schemas.errors import InvalidConfig
from schemas.units import iso
from tests.oracles.event_logs import encode, event
from tests.real.harness.topics import now_ms
from tests.schemas.formats.fixtures import FOLDER

OLD = [
    encode(event(id=f"evt-{n}", time=iso(now_ms() - n * 1000), model=model))
    for n, model in enumerate(("a", "b", 7))
]


def read(path: Path, format: str | None = None, name: str | None = None) -> list[FileBody]:  # noqa: A002
    with opened(str(path)) as source:
        return list(bodies(source.plain, file_name(str(path), name), format))


def explain(path: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(app, ["explain", str(path), "--json", *words])
    assert result.exit_code in {0, 1}, result.exception
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


# -- files -----------------------------------------------------------------------------------------


def test_a_file_is_the_same_however_it_is_compressed(tmp_path: Path) -> None:
    lines = b"\xef\xbb\xbf" + OLD[0] + b"\r\n\n  " + OLD[1] + b"\n" + OLD[1]
    (tmp_path / "a.ndjson").write_bytes(lines)
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(lines[:50]) + gzip.compress(lines[50:]))
    (tmp_path / "a.ndjson.zst").write_bytes(zstd.compress(lines))
    plain, gzipped, zipped = (read(path) for path in sorted(tmp_path.iterdir()))
    assert plain == gzipped == zipped
    assert [(body.line, body.data) for body in plain] == [(1, OLD[0]), (3, OLD[1]), (4, OLD[1])]
    assert len({body.name for body in plain}) == 3
    assert [body.is_open for body in plain] == [False, False, True]
    assert read(tmp_path / "a.ndjson", name="b")[0].name != plain[0].name


def test_a_file_that_has_grown_keeps_its_names(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(OLD[0] + b"\n" + OLD[1] + b"\n")
    before = read(path)
    path.write_bytes(path.read_bytes() + OLD[2])
    assert read(path)[:2] == before


@pytest.mark.parametrize("indent", [None, 2])
def test_a_document_is_one_body(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "a.json"
    path.write_text("\n" + json.dumps([json.loads(one) for one in OLD], indent=indent))
    (body,) = read(path)
    assert body.line == 2
    assert json.loads(body.data) == [json.loads(one) for one in OLD]


def test_a_long_array_is_read_in_slices(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for indent in (0, None):
        path.write_text(json.dumps([{"n": n} for n in range(12_001)], indent=indent))
        found = read(path)
        last = [json.loads(body.data)[-1]["n"] for body in found]
        assert last == [*range(999, 12_000, 1000), 12_000]
        assert len({body.name for body in found}) == 13
    assert len(read(path, "anthropic")) == 13


def test_a_document_that_is_too_large_is_refused_with_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{\n"a": "' + b"x" * (17 << 20) + b'"}')
    _, (found,) = explain(path)
    assert found["event"]["reason"] == "too_large"
    assert "the limit is 16777216" in found["event"]["detail"]


def test_a_line_that_is_broken_is_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{broken\n" + OLD[0] + b"\n")
    code, (first, second) = explain(path)
    assert (code, first["outcome"], second["outcome"]) == (1, "refused", "counted")
    assert first["line"] == 1
    assert first["event"]["reason"] == "not_json"


def test_nothing_in_a_file_is_nothing(tmp_path: Path) -> None:
    for content in (b"", b"\n \n"):
        (tmp_path / "a").write_bytes(content)
        assert read(tmp_path / "a") == []
        assert read(tmp_path / "a", "otel")[1:] == []


@pytest.mark.parametrize("content", [b"\x1f\x8bnot", b"\x28\xb5\x2f\xfdnot a stream at all"])
def test_what_cannot_be_decompressed_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(InvalidConfig, match=r"a\.gz cannot be read: "):
        read(path)
    with pytest.raises(InvalidConfig, match="No such file"):
        read(tmp_path / "missing")


# -- the command -----------------------------------------------------------------------------------


def test_each_event_is_explained_or_refused_by_field(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\n".join([*OLD, OLD[0]]))
    code, found = explain(path)
    assert code == 1
    assert [one["outcome"] for one in found] == ["counted", "counted", "refused", "duplicate"]
    assert found[0]["event"]["id"] == "evt-0"
    assert found[0]["event"]["measures"]["input_tokens"] == 1200
    assert found[0]["identity"] == "event"
    assert {row["view"] for row in found[0]["event"]["rows"]} >= {"total", "model"}
    assert found[2]["event"]["field"] == "model"


@pytest.mark.parametrize("folder", sorted(path.name for path in FOLDER.iterdir()))
def test_what_the_libraries_make_is_explained(tmp_path: Path, folder: str) -> None:
    counted = 0
    for path in sorted((FOLDER / folder).glob("*.json")):
        body = json.loads(path.read_text())["body"]
        if isinstance(body, str) or "headers" in body:
            continue  # protobuf, below; an HTTP request with its headers
        plain = tmp_path / path.name
        plain.write_text(json.dumps(body))
        _, found = explain(
            plain, "--format", folder, "--context", "model=m", "--context", "source=s"
        )
        assert found
        counted += sum(one["outcome"] == "counted" for one in found)
    assert counted


def test_otlp_s_protobuf_is_read(tmp_path: Path) -> None:
    import base64

    (proto,) = [
        json.loads(path.read_text())["body"]
        for path in sorted((FOLDER / "otel").glob("*.json"))
        if isinstance(json.loads(path.read_text())["body"], str)
    ][:1]
    path = tmp_path / "spans.bin"
    path.write_bytes(base64.b64decode(proto))
    _, found = explain(path, "--format", "otel", "--at", "2026-02-09")
    assert {one["format"] for one in found} >= {"otel"}


def test_standard_input_and_a_person_s_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    result = CliRunner().invoke(app, ["explain", "-", "--limit", "2"], input=b"\n".join(OLD))
    assert result.exit_code == 1
    assert "line 1: counted" in result.stdout
    assert "partition key default|gateway|evt-0" in result.stdout
    assert "kind llm, provider openai, model a" in result.stdout
    assert "line 3" not in result.stdout
    assert "3 objects: 2 counted, 1 refused. The first 2 are shown" in result.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--context", "agent"], "it must be NAME=TEXT"),
        (["--context", "agnt=a"], "agnt: is not a field of the context; its fields are id, source"),
        (["--context", "id=x"], "would give all events the same id"),
        (["--at", "soon"], "--at is 'soon'; it must be an RFC 3339 time"),
    ],
)
def test_what_was_said_wrongly_is_a_sentence(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    (tmp_path / "a").write_bytes(OLD[0])
    result = CliRunner().invoke(app, ["explain", str(tmp_path / "a"), *words])
    assert isinstance(result.exception, InvalidConfig)
    assert sentence in str(result.exception)


def test_a_format_that_is_none_is_refused_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OLD[0])
    code, (found,) = explain(tmp_path / "a", "--format", "opnai")
    assert code == 1
    assert "must be one of openai, anthropic" in found["event"]["detail"]
