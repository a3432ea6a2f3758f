"""The secrets of a machine: who can read the home of `up`, Valkey's password and the first key."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from rich.console import Console
from typer.testing import CliRunner

from api.auth.keys import opened, read_records
from deploy.cli.main import app
from deploy.errors import ServerUnreachable
from deploy.local import private_files, servers, up, valkey
from deploy.local.api_keys import create_key, find_key
from deploy.local.servers import Server
from deploy.settings import Settings, describe, read_settings, valkey_password
from schemas.event.kinds import DEFAULT_TENANT

ENDED_S_MAX = 60.0
PASSWORD = "0123456789abcdef"  # noqa: S105


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def wide_umask() -> Iterator[None]:
    """New files are readable by everybody, as on most machines."""
    before = os.umask(0o022)
    yield
    os.umask(before)


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("wide_umask")
def test_a_file_is_private_and_stays_so_when_it_replaces_an_open_one(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    (tmp_path / "secret.new").write_text("left by a killed start")
    with file.open() as reader:
        private_files.write_private(file, "new")
        assert reader.read() == "old"
    assert (file.read_text(), mode_of(file)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("wide_umask")
def test_the_home_of_an_older_version_is_closed_to_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    settings = Settings(home=home, kafka="127.0.0.1:1", api_port=servers.free_port())
    with pytest.raises(ServerUnreachable):
        up.run_everything(settings, simulate=False, console=Console())
    assert mode_of(home) == 0o700
    assert mode_of(home / "up.lock") == 0o600
    (tmp_path / "after").touch()
    assert mode_of(tmp_path / "after") == 0o644


# -- Valkey's password -----------------------------------------------------------------------------


@pytest.mark.servers
def test_valkey_answers_only_with_its_password(own_valkey: Server) -> None:
    assert_refuses_strangers(own_valkey)
    directory = own_valkey.spec.directory
    password = valkey_password(directory.parent)
    assert len(password) == 2 * valkey.PASSWORD_BYTES
    holders = [path for path in directory.rglob("*") if path.is_file() and has(path, password)]
    assert {path.name for path in holders} == {"password", "valkey.conf"}
    assert all(mode_of(path) == 0o600 for path in holders)
    with redis.Redis.from_url(valkey.url_of(own_valkey)) as client:
        assert client.ping()
    own_valkey.restart()
    assert valkey_password(directory.parent) == password


def has(path: Path, text: str) -> bool:
    return text.encode() in path.read_bytes()


def assert_refuses_strangers(server: Server) -> None:
    with (
        redis.Redis(host=server.host, port=server.port) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


@pytest.mark.servers
@pytest.mark.usefixtures("wide_umask")
def test_a_valkey_without_a_password_is_restarted_with_one(tmp_path: Path) -> None:
    """As an older version left it: running, with a configuration that everybody can read."""
    port = servers.free_port()
    spec = valkey.valkey_spec(tmp_path, port, PASSWORD)
    (_password, (name, config)) = spec.files
    config = config.replace(f"requirepass {PASSWORD}\n", "")
    assert PASSWORD not in config
    older = servers.start(
        replace(
            spec,
            files=((name, config),),
            is_ready=lambda _pid: is_open(port),
        )
    )
    (spec.directory / name).chmod(0o644)
    with redis.Redis(port=port) as client:
        client.set("kept", "yes")
        assert client.waitaof(1, 0, 5_000)[0] == 1
    newer = valkey.start_valkey(tmp_path, port=port)
    try:
        assert not newer.adopted
        assert not older.is_running()
        assert mode_of(spec.directory / name) == 0o600
        assert_refuses_strangers(newer)
        with redis.Redis.from_url(valkey.url_of(newer)) as client:
            assert client.get("kept") == b"yes"
    finally:
        newer.stop()


def is_open(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.servers
def test_each_home_has_a_password_of_its_own(own_valkey: Server, valkey: Server) -> None:
    one, other = (valkey_password(each.spec.directory.parent) for each in (own_valkey, valkey))
    assert one != other


@pytest.mark.servers
def test_commands_read_the_password_of_the_bundled_valkey(
    own_valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = own_valkey.spec.directory.parent
    monkeypatch.setenv("ODOMETER_HOME", str(home))
    monkeypatch.setenv("ODOMETER_REDIS_PORT", str(own_valkey.port))
    result = CliRunner().invoke(app, ["keys", "create", "--name", "here"])
    assert (result.exit_code, result.stdout[:4]) == (0, "als_")
    settings = read_settings()
    assert not settings.own_redis
    assert valkey_password(home) not in f"{settings!r}{settings}{describe('redis')}"


def test_a_url_that_is_given_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODOMETER_HOME", str(tmp_path))
    assert read_settings().redis == "redis://127.0.0.1:16379/0"
    private_files.make_private(tmp_path / "valkey")
    private_files.write_private(tmp_path / "valkey" / "password", PASSWORD)
    assert read_settings().redis == f"redis://:{PASSWORD}@127.0.0.1:16379/0"
    given = "redis://127.0.0.1:16379/0"
    assert read_settings(redis=given).redis == given
    monkeypatch.setenv("ODOMETER_REDIS", given)
    assert read_settings().redis == given


# -- the first key ---------------------------------------------------------------------------------


@pytest.mark.servers
def test_a_terminal_shows_the_key_and_an_older_key_is_replaced(
    kafka: Server, redis_url: str, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("TOPIC", topic), ("DEAD_LETTER_TOPIC", f"{topic}.dead"), ("DIRECTORY_PREFIX", topic),
        ("GROUP", topic), ("KAFKA", kafka.address), ("REDIS", redis_url),
    ):  # fmt: skip
        monkeypatch.setenv(f"ODOMETER_{name}", value)
    older = asyncio.run(create_key(redis_url, name="up", tenant=DEFAULT_TENANT, role="member"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "api-key").write_text(older)
    (home / "api-key").chmod(0o644)

    shown = run_in_terminal(home)
    key = (home / "api-key").read_text()
    assert f"Key: {key}, in " in shown
    assert re.search(r"http://127\.0\.0\.1:\d+/#sign-in=[\w-]{43}\r?\n", shown)
    assert mode_of(home / "api-key") == 0o600
    assert key != older
    assert asyncio.run(find_key(redis_url, older))
    record = asyncio.run(find_key(redis_url, key))
    assert record is not None
    assert (record.role, record.tenants) == ("super-admin", (DEFAULT_TENANT,))
    assert key in run_in_terminal(home)
    assert len(asyncio.run(records_of(redis_url))) == 2


async def records_of(redis_url: str) -> list[str]:
    async with opened(redis_url) as store:
        return list(await read_records(store))


def run_in_terminal(home: Path) -> str:
    """What `odometer up` shows on a terminal until it is ready."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "deploy.cli.main", "up", "--no-simulate"),
            *("--home", str(home), "--api-port", str(servers.free_port())),
        ],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"provider=" not in shown:
            shown += os.read(ours, 4_096)  # an OSError if it ended
    finally:
        process.terminate()
        process.wait(ENDED_S_MAX)
        os.close(ours)
        up.end_everything(home)
    return shown.decode()
