"""The secret of signatures: one for all processes, and kept while any of them knows it."""

from __future__ import annotations

import pytest

from api.auth.tokens import TOKEN_PREFIX, Token, TokenSigner, _serializer
from api.store.shared_secret import SECRET_AGE_MS, SECRET_BYTES, SharedSecret
from schemas.errors import StoreUnavailable


class Redis:
    """A Redis of one text; a full one rejects writes."""

    def __init__(self) -> None:
        self.stored: bytes | None = None
        self.is_full = False
        self.asked = 0

    async def __call__(self, *words: str | bytes) -> bytes | None:
        self.asked += 1
        if words[0] == "GET":
            return self.stored
        if self.is_full:
            raise StoreUnavailable("OOM command not allowed")
        assert (words[0], words[-1]) == ("SET", "NX")
        if self.stored is None:
            assert isinstance(words[2], bytes)
            self.stored = words[2]
        return None


def secret_of(store: Redis) -> SharedSecret:
    return SharedSecret("{odometer}secret", store, lambda: SECRET_AGE_MS)


async def test_all_processes_have_the_secret_that_one_drew() -> None:
    store = Redis()
    one, other = secret_of(store), secret_of(store)
    assert not one.known
    drawn = await one.read()
    assert len(drawn) == SECRET_BYTES
    assert drawn == one.known == store.stored == await other.read()
    assert await secret_of(Redis()).read() != drawn


async def test_a_full_redis_ends_no_signature() -> None:
    store = Redis()
    store.is_full = True
    with pytest.raises(StoreUnavailable):
        await secret_of(store).read()
    store.is_full = False
    drawn = await secret_of(store).read()
    store.is_full = True
    store.asked = 0
    assert await secret_of(store).read() == drawn
    assert store.asked == 1


async def test_a_process_puts_a_lost_secret_back() -> None:
    store = Redis()
    one, other = secret_of(store), secret_of(store)
    drawn = await one.read()
    store.stored = None
    assert await one.read() == drawn
    assert await other.read() == drawn
    store.stored = b"of a restored Redis"
    assert await one.read() == store.stored


async def test_before_the_secret_is_read_nothing_is_valid() -> None:
    token = ["00" * 32, "", "acme", [["user", ["ann"]]], 1]
    forged = TOKEN_PREFIX + str(_serializer(b"").dumps(token))
    assert await TokenSigner(Redis(), lambda: 0).read(forged) is None
    assert await TokenSigner(Redis(), lambda: SECRET_AGE_MS).read(forged) is None
    signer = TokenSigner(Redis(), lambda: SECRET_AGE_MS)
    own = Token("00" * 32, "acme", (("user", ("ann",)),), 1)
    assert await signer.read(await signer.made(own)) == own


async def test_another_secret_ends_what_the_one_before_has_signed() -> None:
    """It was valid in every process that knew the secret before, until somebody sent an invalid token."""
    store, now = Redis(), [0]
    signer = TokenSigner(store, lambda: now[0])
    token = await signer.made(Token("00" * 32, "acme", (("user", ("ann",)),), 1))
    assert await signer.read(token) is not None
    store.stored = b"x" * SECRET_BYTES
    now[0] += SECRET_AGE_MS + 1
    assert await signer.read(token) is None
