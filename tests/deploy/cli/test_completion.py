"""What the shell offers after Tab, asked as bash asks it."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from deploy.cli.main import app
from schemas.errors import Reason
from schemas.store.keys import ROLES


def offered(words: str, **settings: str) -> list[str]:
    """`words` up to the cursor; a space at the end begins a new word."""
    environment = {
        "_ODOMETER_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    } | {f"ODOMETER_{name.upper()}": value for name, value in settings.items()}
    result = CliRunner().invoke(app, [], env=environment, prog_name="odometer")
    assert not result.stderr
    return result.stdout.split()


def made(name: str, *options: str) -> None:
    assert CliRunner().invoke(app, ["keys", "create", "--name", name, *options]).exit_code == 0


def test_roles_and_reasons_are_offered() -> None:
    assert offered("odometer keys create --role ") == list(ROLES)
    assert offered("odometer keys create --role su") == ["super-admin"]
    assert offered("odometer dead list --reason ") == list(Reason)
    assert offered("odometer dead replay --reason too_") == [
        reason for reason in Reason if reason.startswith("too_")
    ]


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_without_a_source_no_key_ids_are_offered(command: str, tmp_path: Path) -> None:
    nobody = "redis://127.0.0.1:1/0"
    assert offered(f"odometer keys {command} ", redis=nobody) == []
    assert offered(f"odometer keys {command} ", redis="no url") == []
    missing = str(tmp_path / "missing")
    assert offered(f"odometer keys {command} ", redis=nobody, keys_file=missing) == []


@pytest.mark.servers
def test_key_ids_come_from_redis_and_from_the_keys_file(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    made("one", "--redis", redis_url, "--keys-file", str(file))
    made("two", "--redis", redis_url, "--keys-file", str(file))
    ids = offered("odometer keys revoke ", redis=redis_url)
    assert len(ids) == 2
    assert offered(f"odometer keys revoke {ids[1]}", redis=redis_url) == [ids[1]]
    CliRunner().invoke(app, ["keys", "revoke", ids[0], "--redis", redis_url])
    assert offered("odometer keys rotate ", redis=redis_url) == [ids[1]]
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    assert offered(f"odometer keys revoke --redis {redis_url} ") == []
    assert offered(f"odometer keys revoke --keys-file {file} ", redis=redis_url) == ids
