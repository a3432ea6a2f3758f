"""One word for each tier and region, as providers write them."""

import pytest

from schemas.prices.terms import STANDARD_TERMS, Terms, region_of, terms_of, tier_of


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ("default", "standard"),  # OpenAI
        ("standard", "standard"),  # Anthropic
        ("on_demand", "standard"),  # Groq
        ("ON_DEMAND", "standard"),  # Vertex AI
        ("ON_DEMAND_FLEX", "flex"),
        ("flex", "flex"),
        ("Priority", "priority"),
        ("batch", "batch"),
        ("scale", "scale"),
        ("PROVISIONED_THROUGHPUT", "provisioned_throughput"),
        ("auto", None),
        ("", None),
        (None, None),
    ],
)
def test_a_tier_has_one_word(said: str | None, tier: str | None) -> None:
    assert tier_of(said) == tier


def test_what_is_standard_is_no_term() -> None:
    assert terms_of(None, None, None) == STANDARD_TERMS
    assert terms_of("default", "standard", "not_available") == STANDARD_TERMS
    assert terms_of("auto", "", "global") == STANDARD_TERMS
    assert terms_of("Flex", "fast", "US") == Terms("flex", "fast", "us")
    assert Terms("flex", "", "us").sentence() == "service_tier flex, region us"
    assert region_of("EU") == "eu"
