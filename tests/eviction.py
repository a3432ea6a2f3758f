"""Makes a real Valkey evict keys, as a managed Redis does with its default policy."""

from __future__ import annotations

import redis

VALUE = b"x" * 4096


def evict(url: str, policy: str = "volatile-lru", keep_policy: str = "noeviction") -> int:
    """Lets Redis evict some keys that expire; returns how many. Then its policy is `keep_policy`."""
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", client.info("memory")["used_memory"] + (1 << 20))
        before: int = client.info("stats")["evicted_keys"]
        written = 0
        while client.info("stats")["evicted_keys"] < before + 10:
            client.set(f"filler:{written}", VALUE, ex=10_000)
            written += 1
            assert written < 20_000, "nothing was evicted"
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", keep_policy)
        evicted: int = client.info("stats")["evicted_keys"]
        return evicted - before
