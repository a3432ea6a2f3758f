"""The keys file: what Redis lost is put back, what it knows stays, what is no record is refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from starlette.applications import Starlette

from api.app.main import build
from api.auth.audit import operator
from api.auth.authenticate import digest_of
from api.auth.key_cache import KEYS_KEY
from api.auth.key_shares import ENDED_KEPT_MS
from api.auth.keys import (
    KeySpec,
    create_keys,
    opened,
    read_records,
    restore_keys,
    revoke_key,
    rotate_key,
)
from api.auth.keys_file import lines_of, load_keys_file, write_keys_file
from deploy.local.api_keys import create_key
from schemas.errors import InvalidConfig
from schemas.store.keys import Key, SharedLimit
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS, pack

PATH = "/v1/views"
RECORD = {
    "id": "key-0123456789",
    "name": "k",
    "tenants": ["acme"],
    "role": "viewer",
    "created_ms": 5,
    "sha256": digest_of("some key"),
}


async def saved(redis_url: str, path: Path) -> list[str]:
    """Three keys, one of them revoked, one rotated; and the file of all."""
    async with opened(redis_url) as store:
        wanted = [KeySpec(name, ("acme",), "viewer") for name in ("a", "revoked", "rotated")]
        made = await create_keys(store, wanted, operator(), NOW_MS)
        await revoke_key(store, made[1].record.id, operator(), NOW_MS)
        made.append(await rotate_key(store, made[2].record.id, 60_000, operator(), NOW_MS))
        write_keys_file(path, await read_records(store))
    return [one.secret for one in made]


async def asked(app: Starlette, secrets: list[str]) -> list[int]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://odometer.test") as client:
        return [
            (await client.get(PATH, headers={"x-api-key": secret})).status_code
            for secret in secrets
        ]


async def test_an_emptied_redis_gets_its_keys_back(
    redis_url: str, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "keys.jsonl"
    secrets = await saved(redis_url, path)
    assert not any(secret in path.read_text() for secret in secrets)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    app = build(redis_url, clock=clock, keys_file=path)
    async with app.router.lifespan_context(app):
        assert await asked(app, secrets) == [200, 401, 200, 200]
    with redis.Redis.from_url(redis_url) as client:
        before = client.hgetall(KEYS_KEY)
        client.flushall()
        pack([]).write(redis_url)
        without = build(redis_url, clock=clock)
        async with without.router.lifespan_context(without):
            assert await asked(without, secrets) == [401] * 4
        app = build(redis_url, clock=clock, keys_file=path)
        async with app.router.lifespan_context(app):
            assert await asked(app, ["als_unknown"]) == [401]
            assert not client.exists(KEYS_KEY)
            assert await asked(app, secrets) == [200, 401, 200, 200]
        assert client.hgetall(KEYS_KEY) == before


async def test_what_redis_knows_stays(redis_url: str, clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    secrets = await saved(redis_url, path)
    async with opened(redis_url) as store:
        found = (await read_records(store))[digest_of(secrets[0])]
        await revoke_key(store, found.id, operator(), NOW_MS)
        await store.ask("HDEL", KEYS_KEY, digest_of(secrets[3]))
    app = build(redis_url, clock=clock, keys_file=path)
    async with app.router.lifespan_context(app):
        assert await asked(app, [secrets[3], secrets[0]]) == [200, 401]


async def test_the_file_is_read_as_it_is_when_it_is_needed(
    redis_url: str, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.jsonl"
    app = build(redis_url, clock=clock, keys_file=path)
    assert "does not exist yet" in caplog.text
    async with app.router.lifespan_context(app):
        secrets = await saved(redis_url, path)
        with redis.Redis.from_url(redis_url) as client:
            client.delete(KEYS_KEY)
            assert await asked(app, secrets) == [200, 401, 200, 200]
            later = [await create_key(redis_url, name="b", tenant="b", role="viewer")]
            async with opened(redis_url) as store:
                write_keys_file(path, await read_records(store))
            client.delete(KEYS_KEY)
            assert await asked(app, later) == [200]
            client.delete(KEYS_KEY)
            path.write_text("als_not-a-record\n")
            assert await asked(app, secrets[3:]) == [200]
            assert await asked(app, ["als_unknown"]) == [401]
            assert "continues with the records that it read before" in caplog.text
            assert "als_not" not in caplog.text
            path.unlink()
            client.delete(KEYS_KEY)
            assert await asked(app, secrets[:1]) == [200]


async def test_what_ended_long_ago_is_not_put_back(
    redis_url: str, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "keys.jsonl"
    secrets = await saved(redis_url, path)
    clock.now_ms += ENDED_KEPT_MS + 1
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        app = build(redis_url, clock=clock, keys_file=path)
        async with app.router.lifespan_context(app):
            assert await asked(app, [secrets[1]]) == [401]
            kept = {digest.decode() for digest in client.hkeys(KEYS_KEY)}
    assert digest_of(secrets[0]) in kept
    assert digest_of(secrets[1]) not in kept


async def test_a_key_that_was_revoked_and_dropped_is_not_put_back(
    redis_url: str, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an admin could revoke so many keys that a leaked one is valid again, from an old file."""
    monkeypatch.setattr("api.auth.key_shares.TENANT_ENDED_MAX", 1)
    path = tmp_path / "keys.jsonl"
    secrets = await saved(redis_url, path)
    async with opened(redis_url) as store:
        leaked = (await read_records(store))[digest_of(secrets[0])]
        await revoke_key(store, leaked.id, operator(), NOW_MS + 1)
        later = await create_keys(store, [KeySpec("x", ("acme",), "viewer")], operator(), NOW_MS)
        await revoke_key(store, later[0].record.id, operator(), NOW_MS + 2)
        assert digest_of(secrets[0]) not in await read_records(store)
        app = build(redis_url, clock=clock, keys_file=path)
        async with app.router.lifespan_context(app):
            assert await asked(app, [secrets[0], secrets[2]]) == [401, 200]
        assert await restore_keys(store, load_keys_file(path), operator(), NOW_MS) == 0
        # The operator says so, for each record: `odometer keys import`.
        records = {digest_of(secrets[0]): leaked}
        assert await restore_keys(store, records, operator(), NOW_MS, even_dropped=True) == 1


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    records = {
        digest_of(str(n)): Key(
            id=f"key-{n:010d}",
            name=f"k\u2028ü{n}",
            tenants="all" if n % 2 else ("a", "b\n"),
            role="super-admin",
            created_ms=n,
            requests_per_s=n + 0.5,
            expires_ms=n or None,
            shared_limit=SharedLimit(id="key-00000000aa", requests_per_s=2.0, burst=3)
            if n % 3
            else None,
        )
        for n in range(20)
    }
    path = tmp_path / "keys.jsonl"
    write_keys_file(path, records)
    assert load_keys_file(path) == records
    write_keys_file(path, {})
    assert load_keys_file(path) == {}
    assert [file.name for file in tmp_path.iterdir()] == ["keys.jsonl"]
    assert all(line.isprintable() or "\u2028" in line for line in lines_of(records))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sha256": "00"}, "line 3 of the keys file .*: sha256: "),
        ({"sha256": None}, "sha256"),
        ({"role": "root"}, "role"),
        ({"tenants": "acme"}, "tenants"),
        ({"more": 1}, "more: Extra"),
        ({"created_ms": "5"}, "created_ms"),
    ],
)
def test_what_is_no_record_is_named(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = tmp_path / "keys.jsonl"
    good, bad = json.dumps(RECORD), json.dumps(RECORD | changes)
    path.write_text(f"{good}\n\n{bad}\n")
    with pytest.raises(InvalidConfig, match=says):
        load_keys_file(path)
    with pytest.raises(InvalidConfig):
        build("redis://127.0.0.1:1/0", keys_file=path)


def test_a_key_by_mistake_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    path.write_text("als_a-key-in-the-wrong-file\n")
    with pytest.raises(InvalidConfig, match="line 1") as raised:
        load_keys_file(path)
    assert "als_" not in str(raised.value)


def test_a_file_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read: No such file"):
        load_keys_file(tmp_path / "none")
    with pytest.raises(InvalidConfig, match="cannot be written: No such file"):
        write_keys_file(tmp_path / "none" / "keys.jsonl", {})
