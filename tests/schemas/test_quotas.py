"""Quotas of tenants, as an operator writes them."""

from __future__ import annotations

import pytest

from schemas.quotas import OWN_MAX, Quota, parse_quota


def test_a_quota_has_a_default_and_numbers_of_single_tenants() -> None:
    assert parse_quota("1000", 10, 2000) == Quota(1000)
    quota = parse_quota(" 1000 , acme=2000, a=b=10", 10, 2000)
    assert quota == Quota(1000, {"acme": 2000, "a=b": 10})
    assert [quota.of(tenant) for tenant in ("acme", "a=b", "beta", "")] == [2000, 10, 1000, 1000]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9",
        "2001",
        "1e3",
        "-1",
        "1_000",
        "٣٣٣",
        "9" * 5000,
        "acme=1000",
        "1000,",
        "1000,acme",
        "1000,=1000",
        "1000,acme=",
        "1000,acme=9",
        "1000,acme=100,acme=100",
        f"1000,{'x' * 5000}=100",
        "1000" + "".join(f",t{n}=100" for n in range(OWN_MAX + 1)),
    ],
)
def test_an_invalid_quota_is_rejected_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_quota(text, 10, 2000)
