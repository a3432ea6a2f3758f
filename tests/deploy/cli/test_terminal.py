"""Nothing that producers, tenants or key names say can command the operator's terminal."""

from __future__ import annotations

import ast
import io
import json
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel
from rich.console import Console
from typer.testing import CliRunner

from deploy.cli import dead, terminal
from deploy.cli.main import app
from deploy.cli.report import render
from deploy.send import command
from deploy.send.sending import RefusedObject
from schemas.terminal import escaped, escaped_json, escaped_lines
from streams.core.dead_letters import DeadLetter, EventIdentity, ReplayMark, ReplayState

ROOT = Path(__file__).parents[3]
EVIL = "a\x1b]0;title\x07\x1b[2J\x9b31m\x08\r\x7f\u202eb\u2028c\u2066\ufeff\ud800"
SHOWN = r"a\x1b]0;title\x07\x1b[2J\x9b31m\x08\x0d\x7f\u202eb\u2028c\u2066\ufeff\ud800"
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
PRINTS = {"deploy/cli/terminal.py", "deploy/install.py", "deploy/client/build.py"}
"""The only modules that print texts themselves; the last two print paths and versions of ours."""


def is_harmless(text: str) -> bool:
    return not any(
        unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(char) in DIRECTIONS
        for char in text
        if char != "\n"
    )


def test_a_command_that_runs_until_it_is_stopped_prints_each_line_as_an_object() -> None:
    file = io.StringIO()
    console = terminal.console_of(file, as_json=True)
    terminal.say_on(console, f"started {EVIL} " + "long " * 100, "yellow")
    with terminal.bar(console, "Counting") as show:
        show(1, 2)
    assert isinstance(console.file, terminal.JsonLines)
    console.file.say("ready", api_url="http://127.0.0.1:1")
    first, second, third = map(json.loads, file.getvalue().splitlines())
    assert is_harmless(file.getvalue())
    assert first["message"].startswith("started a\\x1b]0;title")
    assert first["message"].endswith("long")
    assert second["message"] == "Counting: 50%"
    assert [*third] == ["time", "message", "api_url"]


def test_every_control_character_is_escaped_and_nothing_else_of_a_text() -> None:
    everything = map(chr, range(sys.maxunicode + 1))
    assert all(is_harmless(escaped(char)) and escaped(char) for char in everything)
    assert escaped(EVIL) == SHOWN
    assert escaped("a\nb") == r"a\x0ab"
    assert escaped_lines("a\nb\x1b") == "a\nb\\x1b"
    for plain in ("", "gpt-4o", r"C:\x1b", "Zürich 漢字 עברית 👍 \ufffd ~"):
        assert escaped(plain) == plain


def test_escaped_json_means_the_same() -> None:
    data = {EVIL: [EVIL, 1, None], "\U000e0041": "Zürich"}
    text = escaped_json(json.dumps(data, ensure_ascii=False, indent=1))
    assert json.loads(text) == data
    assert is_harmless(text)
    assert "Zürich" in text


def test_commands_print_through_one_module() -> None:
    """A print of its own would show texts as they are."""
    found = set()
    for path in sorted((ROOT / "deploy").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name not in PRINTS and (
                called in {"print", "Text", "typer.echo", "click.echo", "typer.secho"}
                or called.endswith((".print_json", "stdout.write", "stderr.write", "buffer.write"))
            ):
                found.add((name, called))
    assert found == {
        ("deploy/cli/help.py", "typer.echo"),  # the version
        ("deploy/local/ready.py", "print"),  # our URL and key
    }


class Counts(BaseModel):
    unknown_fields: dict[str, int]
    problems: list[str]
    rows: list[PrintedRow]


class PrintedRow(BaseModel):
    refused: str


def printed(*shown: object, width: int = 400) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    for one in shown:
        console.print(one)
    return out.getvalue()


def test_status_shows_unknown_fields_and_refusals_escaped() -> None:
    model = Counts(unknown_fields={EVIL: 1}, problems=[EVIL], rows=[PrintedRow(refused=EVIL)])
    text = printed(render(model, 0))
    assert is_harmless(text)
    assert text.count(SHOWN) == 2  # a list of texts is shown as Python writes it


def letter() -> DeadLetter:
    value = json.dumps({EVIL: EVIL}, ensure_ascii=False).encode(errors="surrogatepass")
    return DeadLetter("t:0:1", 1, "invalid_field", EVIL, EVIL, value, [(EVIL, b"\x1b\x9b")])


def test_dead_letters_are_listed_and_shown_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = letter()

    async def found(*_given: object) -> list[DeadLetter]:
        return [one]

    assert is_harmless(printed(dead._table([one], 0)))
    monkeypatch.setattr(dead, "_named", found)
    dead.show("t:0:1")
    said = capsys.readouterr().out
    assert is_harmless(said)
    assert r"\x1b]0;title" in said
    dead.show("t:0:1", as_json=True)
    data = capsys.readouterr().out
    assert is_harmless(data)
    assert json.loads(data)["field"] == EVIL


def test_the_list_of_dead_letters_says_whose_and_how_old_within_80_columns() -> None:
    value = json.dumps({"tenant": "acme"}).encode()
    one = DeadLetter(
        "usage.events:11:1234567", 60_000, "invalid_field", "model", "must be a text", value, ()
    )
    said = printed(dead._table([one], 180_000), width=80)
    for part in (one.origin, "0:02:00 ago", "acme", "invalid_field", "model:"):
        assert part in said
    mark = ReplayMark(ReplayState.SENT, 0, EventIdentity("acme", "s", "i"))
    again = printed(dead._table([replace(one, replay=mark)], 180_000), width=80)
    for part in (one.origin, "invalid_field", "(replay:"):
        assert part in again


def test_dead_letters_of_one_tenant_can_be_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Callable[[DeadLetter], bool]] = []

    async def chosen(
        _settings: object, wanted: Any, *_given: object, **_named: object
    ) -> list[Any]:
        asked.append(wanted)
        return []

    monkeypatch.setattr(dead, "_replay", chosen)
    dead.replay(tenant="acme")
    (wanted,) = asked
    letters = [
        DeadLetter("t:0:1", 1, "too_old", "", "", json.dumps({"tenant": tenant}).encode(), ())
        for tenant in ("acme", "beta")
    ]
    assert [wanted(one) for one in letters] == [True, False]


def test_explain_and_send_show_files_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = {
        "id": f"i{EVIL[:-1]}", "source": f"s{EVIL[:-1]}", "time": "2026-02-08T10:00:00Z",
        "kind": "llm", "model": EVIL[:-1], EVIL[:-1]: 1,
    }  # fmt: skip
    file = tmp_path / "f.ndjson"
    file.write_bytes(
        msgspec.json.encode(event) + b"\n" + msgspec.json.encode({**event, "kind": EVIL[:-1]})
    )
    for words in ((), ("--json",)):
        result = CliRunner().invoke(
            app, ["explain", str(file), "--at", "2026-02-08T10:00:01Z", *words]
        )
        assert is_harmless(result.output)
        assert r"\x1b]0;title" in result.output or r"\u001b]0;title" in result.output
    terminal.say_on(
        Console(), escaped(command._sentence(RefusedObject(1, 0, "not_json", EVIL, EVIL)))
    )
    assert is_harmless(capsys.readouterr().out)
