"""What a body of `/v1/keys` builds is bounded: items are counted before, and errors end the reading."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from api.auth import endpoints
from api.auth.endpoints import BODY_BYTES_MAX, COMMAS_MAX, IMPORT_BYTES_MAX, keys_held
from api.auth.keys import IMPORT_MAX
from api.errors import InvalidKey
from schemas.responses.keys import KeyWanted
from schemas.store.keys import TENANTS_MAX

HELD: dict[str, Any] = {"name": "x", "key": "k" * 20}
PEAK_BYTES = 12 << 20
"""Twelve times the largest body."""


def body(keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def refusal(content: bytes) -> str:
    with pytest.raises(InvalidKey) as caught:
        keys_held(content)
    return str(caught.value)


def test_an_import_of_as_many_as_are_allowed_is_read() -> None:
    many = {
        **HELD,
        "tenants": [f"t{n}" for n in range(TENANTS_MAX)],
        "role": "viewer",
        "expires": None,
        "requests_per_s": 1.0,
        "burst": 2,
    }
    assert keys_held(body([many])) == [keys_held(body([many]))[0]]
    assert len(keys_held(body([HELD] * IMPORT_MAX))) == IMPORT_MAX
    assert f"at most {IMPORT_MAX}" in refusal(body([HELD] * (IMPORT_MAX + 1)))
    named = {**HELD, "name": "a, b" * 60}
    assert keys_held(body([named]))[0].name == "a, b" * 60


@pytest.mark.parametrize(
    "content",
    [
        body([0] * (IMPORT_BYTES_MAX // 4)),
        body([{}] * (IMPORT_BYTES_MAX // 5)),
        body([[]] * (IMPORT_BYTES_MAX // 5)),
        body([{f"{n:x}": 0 for n in range(IMPORT_BYTES_MAX // 12)}]),
        body([{**HELD, "tenants": [0] * (IMPORT_BYTES_MAX // 4)}]),
        body([{**HELD, "tenants": [0] * COMMAS_MAX}] * 800),
        json.dumps({f"{n:x}": 0 for n in range(IMPORT_BYTES_MAX // 12)}).encode(),
        b'{"keys":' + b"[" * (IMPORT_BYTES_MAX // 2),
    ],
)
def test_an_import_of_too_much_builds_little(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    parse = endpoints._parse

    def counted(model: Any, item: bytes, where: str = "") -> Any:
        read.append(item)
        return parse(model, item, where)

    monkeypatch.setattr(endpoints, "_parse", counted)
    assert len(content) <= IMPORT_BYTES_MAX
    tracemalloc.start()
    try:
        refusal(content)
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()
    assert len(read) <= 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Field `keys`"),
        (b"[]", "Field `keys`"),
        (b"{}", "Field `keys`"),
        (b'{"keys":5}', "Field `keys`"),
        (b'{"keys":[],"x":1}', "unknown field `x`"),
        (b'{"keys":[5]}', "Field `keys.0`"),
        (body([HELD, {**HELD, "role": "king"}, {}]), "Field `keys.1.role`"),
        (body([HELD, {**HELD, "x": 1}]), "Field `keys.1.x`"),
        (body([{**HELD, "tenants": ["t"] * (TENANTS_MAX + 1)}]), "Field `keys.0.tenants"),
    ],
)
def test_the_first_wrong_field_is_named(content: bytes, said: str) -> None:
    assert said in refusal(content)
    assert "kkkk" not in refusal(content)


def test_a_new_key_of_too_many_fields_builds_no_errors() -> None:
    content = json.dumps({f"{n:x}": 0 for n in range(1000)}).encode()
    assert len(content) < BODY_BYTES_MAX
    with pytest.raises(InvalidKey, match=f"more than {COMMAS_MAX} commas"):
        endpoints._parse(KeyWanted, content)
