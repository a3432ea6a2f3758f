"""`odometer keys`: each command against a real Valkey, and what is printed where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from api.auth.authenticate import digest_of
from api.auth.key_cache import KEYS_KEY
from api.errors import InvalidKey, NoSuchKey
from deploy.cli.main import app
from schemas.errors import InvalidConfig

HELD = ["lvk_0123456789abcdef", "sk-0123456789abcdef"]

pytestmark = pytest.mark.servers


def run(redis_url: str, *words: str, given: str = "") -> Result:
    return CliRunner().invoke(
        app, ["keys", *words], input=given, env={"ODOMETER_REDIS": redis_url, "COLUMNS": "250"}
    )


def out(redis_url: str, *words: str, given: str = "") -> str:
    result = run(redis_url, *words, given=given)
    assert result.exit_code == 0, result
    return result.stdout


def listed(redis_url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(out(redis_url, "list", "--json"))["keys"]
    return found


def known(redis_url: str) -> set[str]:
    with redis.Redis.from_url(redis_url) as client:
        return {digest.decode() for digest in client.hkeys(KEYS_KEY)}


def test_a_key_from_its_making_to_its_end(redis_url: str) -> None:
    key = out(redis_url, "create", "--name", "ci").strip()
    assert known(redis_url) == {digest_of(key)}
    (about,) = listed(redis_url)
    assert (about["name"], about["tenants"], about["role"]) == ("ci", ["default"], "viewer")
    new = out(redis_url, "rotate", about["id"], "--grace-s", "60").strip()
    assert known(redis_url) == {digest_of(key), digest_of(new)}
    assert [each["serial"] for each in listed(redis_url)] == [2, 1]
    at_once = json.loads(out(redis_url, "rotate", about["id"], "--grace-s", "0", "--json"))
    assert digest_of(at_once["key"]) in known(redis_url)
    assert [each["state"] for each in listed(redis_url)][:2] == ["active", "expired"]
    revoked = run(redis_url, "revoke", about["id"])
    assert revoked.stdout == ""
    assert revoked.stderr == f"{about['id']} (ci) is revoked\n"
    assert {each["state"] for each in listed(redis_url)} == {"revoked"}
    again = json.loads(out(redis_url, "revoke", about["id"], "--json"))
    assert (again["id"], again["state"]) == (about["id"], "revoked")
    table = out(redis_url, "list")
    assert about["id"] in table
    lines = json.loads(out(redis_url, "audit", "--json"))
    assert [line["action"] for line in lines] == ["revoke", "rotate", "rotate", "create"]
    assert {line["by_id"] for line in lines} == {"operator"}
    shown = out(redis_url, "audit", "--limit", "1")
    assert "revoke" in shown
    assert "create" not in shown
    for text in (table, shown, json.dumps(lines), json.dumps(listed(redis_url))):
        assert not any(secret in text for secret in (key, new, at_once["key"]))


def test_the_name_of_a_key_commands_no_terminal(redis_url: str) -> None:
    evil, shown = "a\x1b[2J\x9b1mb\u202e", r"a\x1b[2J\x9b1mb\u202e"
    made = run(redis_url, "create", "--name", evil, "--tenant", evil)
    (about,) = listed(redis_url)
    assert (about["name"], about["tenants"]) == (evil, [evil])
    said = [made.stderr, out(redis_url, "list"), out(redis_url, "audit")]
    said.append(run(redis_url, "revoke", about["id"]).stderr)
    assert all(shown in text for text in said)
    said += [out(redis_url, *words) for words in (("export",), ("list", "--json"))]
    said.append(out(redis_url, "audit", "--json"))
    assert not any(char in text for text in said for char in "\x1b\x9b\u202e")


def test_every_option_of_a_new_key(redis_url: str) -> None:
    words = "create --name n --tenant a --tenant b --role admin --expires 2999-01-01"
    made = json.loads(
        out(redis_url, *words.split(), "--requests-per-s", "2.5", "--burst", "9", "--json")
    )
    assert made.pop("key").startswith("als_")
    assert made == listed(redis_url)[0]
    assert (made["tenants"], made["role"]) == (["a", "b"], "admin")
    assert made["expires"] == "2999-01-01T00:00:00Z"
    assert (made["requests_per_s"], made["burst"]) == (2.5, 9)
    everything = ("create", "--name", "all", "--all-tenants", "--role", "super-admin", "--json")
    assert json.loads(out(redis_url, *everything))["tenants"] == "all"


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ("create --name n --role root", InvalidKey, "Field `role`"),
        ("create --name n --all-tenants", InvalidKey, "only a super-admin"),
        ("create --name n --all-tenants --tenant a", InvalidConfig, "exclude"),
        ("create --name n --expires soon", InvalidKey, "Field `expires`"),
        ("create --name n --expires 2020-01-01", InvalidKey, "in the future"),
        ("create --name n --requests-per-s 0", InvalidKey, "requests_per_s"),
        ("rotate key-0000000000", NoSuchKey, "no key with this id"),
        ("rotate key-0000000000 --grace-s 99999999", InvalidKey, "GRACE_MS_MAX"),
        ("revoke key-0000000000", NoSuchKey, "no key with this id"),
    ],
)
def test_what_is_refused(redis_url: str, words: str, error: type[Exception], says: str) -> None:
    result = run(redis_url, *words.split())
    assert isinstance(result.exception, error)
    assert says in str(result.exception)
    assert known(redis_url) == set()


def test_keys_that_clients_hold(redis_url: str, tmp_path: Path) -> None:
    more = {"key": "als_0123456789abcdef", "name": "third", "tenants": ["b"], "requests_per_s": 3}
    file = tmp_path / "held"
    file.write_text(f"{HELD[0]}\n\n  {HELD[1]}\r\n{json.dumps(more)}\n")
    words = ("import", str(file), "--name", "old", "--tenant", "a", "--role", "member")
    result = run(redis_url, *words)
    assert result.stderr == "3 keys imported, 0 of 0 records restored\n"
    assert known(redis_url) == {digest_of(key) for key in (*HELD, "als_0123456789abcdef")}
    found = {each["name"]: each for each in listed(redis_url)}
    assert found["third"]["tenants"] == ["b"]
    assert found["third"]["role"] == "member"
    assert found["old"]["tenants"] == ["a"]
    again = run(redis_url, *words)
    assert isinstance(again.exception, InvalidKey)
    assert "exists already (entry 1)" in str(again.exception)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("short", "this has 5"),
        ("ünicode-that-is-long-enough", "line 2 is neither"),
        ("{broken-secret", "line 2 is neither"),
        ('{"key": 5}', "line 2: key: Input should be a valid string"),
        ('{"key": "als_secret-0123456789", "role": "root"}', "line 2: role"),
        ('{"key": "als_secret-0123456789", "more": 1}', "line 2: more"),
        ('{"sha256": "als_secret-0123456789"}', "line 2: "),
    ],
)
def test_an_import_names_the_line_and_not_the_key(redis_url: str, line: str, says: str) -> None:
    result = run(redis_url, "import", "-", given=f"{HELD[0]}\n{line}\n")
    assert isinstance(result.exception, InvalidConfig | InvalidKey)
    assert says in str(result.exception)
    assert "secret" not in str(result.exception)
    assert known(redis_url) == set()


def test_an_export_brings_keys_back(redis_url: str, tmp_path: Path) -> None:
    key = out(redis_url, "create", "--name", "ci").strip()
    before = listed(redis_url)
    copy = out(redis_url, "export")
    file = tmp_path / "keys.jsonl"
    assert run(redis_url, "export", str(file)).stderr == f"1 records in {file}\n"
    assert file.read_text() == copy
    assert key not in copy
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    again = run(redis_url, "import", "-", given=copy)
    assert again.stderr == "0 keys imported, 1 of 1 records restored\n"
    assert listed(redis_url) == before
    assert run(redis_url, "import", str(file)).stderr.endswith("0 of 1 records restored\n")


def test_a_keys_file_follows_every_change_and_loses_none(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    key = out(redis_url, "create", "--name", "a", "--keys-file", str(file)).strip()
    assert digest_of(key) in file.read_text()
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    # The first change after the loss brings the others back before it writes the file.
    other = out(redis_url, "create", "--name", "b", "--keys-file", str(file)).strip()
    assert known(redis_url) == {digest_of(key), digest_of(other)}
    (about, _) = listed(redis_url)
    run(redis_url, "revoke", about["id"], "--keys-file", str(file))
    states = [bool(json.loads(line)["revoked_ms"]) for line in file.read_text().splitlines()]
    assert sorted(states) == [False, True]
    out(redis_url, "rotate", listed(redis_url)[1]["id"], "--keys-file", str(file))
    run(redis_url, "import", "-", "--keys-file", str(file), given=HELD[0])
    assert {json.loads(line)["sha256"] for line in file.read_text().splitlines()} == known(
        redis_url
    )
    assert len(known(redis_url)) == 4
