"""The command `odometer`: what its help teaches, where settings come from, what it prints."""

import io
import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from pydantic import BaseModel
from rich.console import Console
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.cli.report import render
from deploy.local.servers import Server
from deploy.settings import Settings, as_environment, describe, read_settings
from schemas.errors import InvalidConfig

KEYS = tuple(
    f"keys {name}" for name in ["create", "list", "rotate", "revoke", "import", "export", "audit"]
)
COMMANDS = (
    "up", "worker", "directory", "api", "topics", "simulate", "status", *KEYS, "dead list",
    "usage", "tail", "top", "dead show", "dead replay", "explain", "send", "rebuild", "accept", "size", "config",
)  # fmt: skip
COUNTING = ("up", "worker", "rebuild", "status", "explain -")
"""Commands that go by what is counted, and by prices."""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.output
    assert len(result.output.splitlines()) > 10
    assert "<bool>" not in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json(command: str) -> None:
    assert "--json" in CliRunner().invoke(app, [*command.split(), "--help"]).output


def test_the_version_is_that_of_the_installed_package() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"odometer {version('odometer')}\n")
    assert "<bool>" not in CliRunner().invoke(app, ["--help"]).output


def test_every_setting_is_an_option_somewhere_with_its_variable() -> None:
    help_texts = "".join(
        CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).output
        for command in COMMANDS
    )
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"--{name.replace('_', '-')}" in help_texts
        assert f"ODOMETER_{name.upper()}" in describe(name)


def test_an_option_wins_over_its_variable_and_that_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_settings().api_port == 3400
    monkeypatch.setenv("ODOMETER_API_PORT", "3500")
    assert read_settings(api_port=None).api_port == 3500
    assert read_settings(api_port=3600).api_port == 3600
    monkeypatch.setenv("ODOMETER_API_PORT", "")
    assert read_settings().api_port == 3400


@pytest.mark.parametrize(
    ("setting", "command"),
    [
        *(("catalog_file", command) for command in (*COUNTING, "api")),
        *(("prices_file", command) for command in COUNTING),
    ],
)
def test_a_file_that_cannot_be_is_told_before_anything_starts(
    command: str, setting: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[views.by_team]\ndimensions = ['team']\n[[price]]\nmodel = 3")
    home = tmp_path / "home"
    environment = {"ODOMETER_HOME": str(home), f"ODOMETER_{setting.upper()}": str(file)}
    result = CliRunner().invoke(app, command.split(), env=environment)
    assert isinstance(result.exception, InvalidConfig)
    assert str(result.exception).startswith(f"{file}: ")
    assert not home.exists()
    file.unlink()
    result = CliRunner().invoke(app, command.split(), env=environment)
    assert str(result.exception) == (
        f"The {setting.removesuffix('_file')} file {file} cannot be read: No such file or directory."
    )


def test_own_servers_are_those_that_were_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not read_settings().own_kafka
    assert read_settings(kafka="broker:9092").own_kafka
    monkeypatch.setenv("ODOMETER_REDIS", "redis://somewhere/0")
    assert read_settings().own_redis


@pytest.mark.parametrize(
    ("option", "value"), [("api_port", 0), ("partitions", 0), ("history_days", -1)]
)
def test_what_cannot_be_names_its_option_and_variable(option: str, value: int) -> None:
    with pytest.raises(InvalidConfig, match=rf"^--{option.replace('_', '-')} \(or ODOMETER_"):
        read_settings(**{option: value})


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("tenant_ids", "200000000,acme", "'acme' must be TENANT=NUMBER"),
        ("tenant_ids", "1e9", "'1e9' must be a whole number from 0 to 10000000000"),
        ("tenant_series", "1000000,acme=10", "10 must be from 1000 to 100000000"),
    ],
)
def test_an_invalid_quota_says_what_is_allowed(option: str, text: str, said: str) -> None:
    name = f"--{option.replace('_', '-')} (or ODOMETER_{option.upper()})"
    with pytest.raises(InvalidConfig, match=re.escape(f"{name} is {text!r}: {said}")):
        read_settings(**{option: text})


@pytest.mark.parametrize("name", ["api_port", "kafka_port", "redis_port", "monitor_port"])
def test_a_service_link_of_kubernetes_is_no_setting(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = getattr(read_settings(), name)
    monkeypatch.setenv(f"ODOMETER_{name.upper()}", "tcp://10.96.0.7:3400")
    monkeypatch.setenv("ODOMETER_API_SERVICE_HOST", "10.96.0.7")
    monkeypatch.setenv("ODOMETER_API_PORT_3400_TCP_ADDR", "10.96.0.7")
    assert getattr(read_settings(), name) == default
    said = json.loads(run("config", "--json"))
    assert said["unknown_variables"] == []
    assert {"setting": name, "value": default, "from": "default"} in said["settings"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis", "secret"),
        ("redis", "http://u:secret@host"),
        ("redis", "redis://u:secret@host:99999/0"),
        ("redis", "redis://"),
        ("kafka", ":::"),
        ("kafka", "a b"),
        ("kafka", "host:1,,host:2"),
    ],
)
def test_an_address_that_cannot_be_is_one_sentence(name: str, value: str) -> None:
    with pytest.raises(InvalidConfig, match=f"ODOMETER_{name.upper()}.*: must be ") as caught:
        read_settings(**{name: value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis", "unix:///run/redis.sock?db=1"),
        ("redis", "rediss://user:pa%40ss@[::1]:6380/2"),
        ("kafka", "broker"),
        ("kafka", "10.0.0.1:9092, [::1]:9092"),
    ],
)
def test_addresses_may_have_each_form(name: str, value: str) -> None:
    assert getattr(read_settings(**{name: value}), name) == value


def test_a_secret_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "redis"
    file.write_text("redis://user:secret@somewhere/0\n")
    monkeypatch.setenv("ODOMETER_REDIS_FILE", str(file))
    settings = read_settings()
    assert settings.redis == "redis://user:secret@somewhere/0"
    assert settings.own_redis
    assert read_settings(redis="redis://other/0").redis == "redis://other/0"
    with monkeypatch.context() as child:
        for name, value in as_environment(settings).items():
            child.setenv(name, value)
        assert read_settings() == settings
    said = run("config")
    assert "secret" not in said
    assert "redis://user:***@somewhere/0  [ODOMETER_REDIS_FILE]" in said


@pytest.mark.parametrize(
    ("content", "also", "why"),
    [
        (None, "", "cannot be read: No such file or directory."),
        (b"", "", "is empty."),
        (b"\n", "", "is empty."),
        (b"\xff\xfe", "", "cannot be read: it is not text in UTF-8."),
        (b"key", "als_1", "ODOMETER_API_KEY and ODOMETER_API_KEY_FILE are both set"),
    ],
)
def test_a_file_of_a_secret_that_cannot_be_used_says_why(
    content: bytes | None, also: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "api-key"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("ODOMETER_API_KEY_FILE", str(file))
    monkeypatch.setenv("ODOMETER_API_KEY", also)
    with pytest.raises(InvalidConfig, match=re.escape(why)):
        read_settings()


def test_config_tells_what_sets_each_setting_and_what_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ODOMETER_API_KEY", "als_secret")
    monkeypatch.setenv("ODOMETER_KAFAK", "broker:9092")
    monkeypatch.setenv("ODOMETER_API_PORT", "3500")
    said = json.loads(run("config", "--json"))
    rows = {row.pop("setting"): row for row in said["settings"]}
    assert list(rows) == list(Settings.model_fields)
    assert rows["api_key"] == {"value": "***", "from": "ODOMETER_API_KEY"}
    assert rows["api_port"] == {"value": 3500, "from": "ODOMETER_API_PORT"}
    assert rows["kafka"] == {"value": "127.0.0.1:19092", "from": "default"}
    assert said["unknown_variables"] == ["ODOMETER_KAFAK"]


def test_a_child_reads_the_very_settings_of_its_parent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, kafka="broker:9092", api_port=1, rate_per_s=0.25)
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert read_settings() == settings


@pytest.mark.servers
def test_topics_are_created_and_then_found(kafka: Server, topic: str) -> None:
    options = ["--kafka", kafka.address, "--topic", topic, "--dead-letter-topic", f"{topic}.dead"]
    options += ["--directory-prefix", topic, "--group", topic]
    created = json.loads(run("topics", *options, "--partitions", "3", "--json"))
    assert [line.split(":")[0] for line in created] == [
        topic, f"{topic}.dead", f"{topic}.users", f"{topic}.groups", f"{topic}.chats"
    ]  # fmt: skip
    assert created[2].endswith(f": 4 partitions, with {topic}-directory-users-changelog")
    assert topic in run("topics", *options, "--partitions", "3")


@pytest.mark.servers
def test_a_key_is_printed_once_alone_or_as_json(redis_url: str) -> None:
    plain = run("keys", "create", "--name", "test", "--redis", redis_url)
    assert plain.strip().startswith("als_")
    options = ("--name", "test", "--tenant", "acme", "--redis", redis_url, "--json")
    made = json.loads(run("keys", "create", *options))
    assert made["tenants"] == ["acme"]
    assert made["key"] != plain.strip()


def test_a_report_shows_whatever_the_model_holds() -> None:
    class Row(BaseModel):
        partition: int
        position: int | None
        last_commit_ms: int

    class Report(BaseModel):
        complete_through_ms: int
        dead_letters: dict[str, int]
        refusals: dict[str, str]
        partitions: list[Row]

    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(
            render(
                Report(
                    complete_through_ms=1_772_323_200_000,
                    dead_letters={"too_old": 3},
                    refusals={},
                    partitions=[
                        Row(partition=0, position=17, last_commit_ms=1_772_323_200_500),
                        Row(partition=1, position=None, last_commit_ms=0),
                    ],
                ),
                now_ms=1_772_323_201_000,
            )
        )
    shown = captured.get()
    assert "complete through: 2026-03-01T00:00:00.000+00:00 (1.0 s ago)" in shown
    assert "0.5 s ago" in shown
    assert "dead letters: too_old 3" in shown
    assert "refusals: none" in shown
    assert "last commit" in shown
    assert "17" in shown


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli.main", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


AWAY = ("--kafka", "127.0.0.1:1", "--redis", "redis://127.0.0.1:1/0")


@pytest.mark.parametrize(
    ("options", "code", "begins"),
    [
        ((), 2, "NOT COUNTING: Redis cannot be used"),
        (("--check",), 2, "NOT COUNTING: Redis cannot be used"),
        (("--check", "--nope"), 3, ""),
        (("--check", "--max-behind", "soon"), 3, ""),
        (("--max-behind", "soon"), 2, ""),
    ],
)
def test_a_server_that_is_away_comes_first_and_a_wrong_option_is_no_state(
    options: tuple[str, ...], code: int, begins: str
) -> None:
    command = [sys.executable, "-m", "deploy.cli.main", "status", *options, *AWAY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.startswith(begins)
    assert bool(done.stderr) != bool(begins)


def test_ctrl_c_ends_a_watch_also_while_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_settings: Settings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.cli.status._read", interrupted)
    result = CliRunner().invoke(app, ["status", "--watch"])
    assert (result.exit_code, result.output.strip()) == (0, "")
