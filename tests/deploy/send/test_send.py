"""`odometer send` and its note of how far it came, against a receiver that answers as told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.send.command import REFUSED_EXIT
from tests.oracles.event_logs import event
from tests.streams.meter.receiver import Answer, Receiver, receiver_of

AWAY = Answer(503, {"detail": "Kafka is away"}, (("retry-after", "0"),))


def send(receiver: Receiver, file: Path | str, *words: str, code: int = 0, text: str = "") -> Any:
    options = ["--api-url", receiver.url, "--api-key", "als_k", "--give-up-s", "0", "--json"]
    result = CliRunner().invoke(app, ["send", str(file), *options, *words], input=text)
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout) if result.stdout else str(result.exception)


def noted(file: Path) -> int:
    return int(json.loads(Path(f"{file}.sent").read_bytes())["bodies"])


def ids(count: int, label: str = "e") -> list[str]:
    return [f"{label}-{n}" for n in range(count)]


def test_it_goes_on_where_the_receiver_went_away(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text("".join(json.dumps(event(id=one)) + "\n" for one in ids(2500)))
    with receiver_of([Answer(), AWAY]) as receiver:
        said = send(receiver, file, code=1)
        assert said.endswith("answered 503: Kafka is away")
        assert noted(file) == 1000
        assert send(receiver, file)["sent"] == 1500
    assert receiver.ids == ids(2500)
    assert noted(file) == 2500


def test_a_line_of_which_a_part_has_arrived_is_sent_again_whole(tmp_path: Path) -> None:
    """With the same ids, though nothing in it has one."""
    file = tmp_path / "a.ndjson"
    usage = {"object": "chat.completion", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    file.write_text("\n".join(json.dumps([usage] * 700) for _ in range(3)) + "\n")
    with receiver_of([Answer(), AWAY]) as receiver:
        send(receiver, file, code=1)
        assert noted(file) == 1
        tally = send(receiver, file)
    assert (tally["sent"], tally["made_ids"], tally["before"]) == (1400, 1400, 1)
    counts = Counter(receiver.ids)
    assert len(counts) == 2100
    assert sorted(counts.values()) == [1] * 1800 + [2] * 300


def test_what_the_receiver_refuses_is_told_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text("{}\n" + "".join(json.dumps(event(id=one)) + "\n" for one in ids(3)))
    refused = {"index": 2, "field": "tenant", "reason": "invalid_field", "detail": "differs"}
    with receiver_of([Answer(202, {"refusals": [refused]})]) as receiver:
        tally = send(receiver, file, code=REFUSED_EXIT)
    assert [(one["line"], one["field"]) for one in tally["refusals"]] == [
        (1, "format"),
        (4, "tenant"),
    ]
    assert (tally["sent"], tally["refused"]) == (2, 2)


@pytest.mark.parametrize("status", [202, 400])
def test_refusals_beyond_those_of_one_answer_are_told_too(tmp_path: Path, status: int) -> None:
    """An answer lists the first 100. What comes after the last listed one is sent again."""
    file = tmp_path / "a.ndjson"
    file.write_text("".join(json.dumps(event(id=one)) + "\n" for one in ids(4)))
    places = [0, 2, 3] if status == 202 else [0, 1, 2, 3]
    script = [
        Answer(status, {"refusals": [refusal(0)], "more_refusals": len(places) - 1}),
        Answer(status, {"refusals": [refusal(n - 1) for n in places[1:]], "more_refusals": 0}),
    ]
    with receiver_of(script) as receiver:
        tally = send(receiver, file, code=REFUSED_EXIT)
    assert [one["line"] for one in tally["refusals"]] == [n + 1 for n in places]
    assert (tally["sent"], tally["refused"]) == (4 - len(places), len(places))
    assert [[one["id"] for one in body] for body in receiver.bodies] == [ids(4), ids(4)[1:]]


def refusal(index: int) -> dict[str, Any]:
    return {"index": index, "field": "tenant", "reason": "invalid_field", "detail": "differs"}


def test_a_batch_that_is_refused_whole_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text(json.dumps(event()) + "\n")
    with receiver_of([Answer(400, {"detail": "no body of ours"})]) as receiver:
        assert "400: no body of ours" in send(receiver, file, code=1)
    assert not Path(f"{file}.sent").exists()


def test_standard_input_is_sent_and_nothing_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with receiver_of([]) as receiver:
        tally = send(receiver, "-", text=json.dumps([event(id=one) for one in ids(2)]))
        assert tally["sent"] == 2
    assert receiver.ids == ids(2)
    assert not list(tmp_path.iterdir())


def test_the_key_of_up_is_used_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODOMETER_HOME", str(tmp_path))
    (tmp_path / "api-key").write_text("als_up\n")
    file = tmp_path / "a.ndjson"
    file.write_text(json.dumps(event()) + "\n")
    with receiver_of([]) as receiver:
        result = CliRunner().invoke(app, ["send", str(file), "--api-url", receiver.url])
        assert result.stdout == "1 sent, 0 skipped, 0 refused\n"
    assert receiver.headers[0]["authorization"] == "Bearer als_up"


@pytest.mark.parametrize("held", ["{", '{"target":"x"}'])
def test_a_note_that_cannot_be_read_is_a_sentence(tmp_path: Path, held: str) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text(json.dumps(event()) + "\n")
    Path(f"{file}.sent").write_text(held)
    with receiver_of([]) as receiver:
        said = send(receiver, file, code=1)
        assert "a.ndjson.sent, the stored progress of the file, cannot be read" in said
        assert receiver.bodies == []
