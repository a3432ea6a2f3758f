"""Errors as ten libraries and providers write them, and their class."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event.error_class import ERROR_CLASSES, error_class_of


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("RateLimitError", "rate_limit"),
        ("rate_limit_exceeded", "rate_limit"),
        ("429", "rate_limit"),
        ("ThrottlingException", "rate_limit"),
        ("RESOURCE_EXHAUSTED", "rate_limit"),
        ("insufficient_quota", "quota"),
        ("BudgetExceededError", "quota"),
        ("context_length_exceeded", "context_length"),
        ("ContextWindowExceededError", "context_length"),
        ("content_filter", "content_filter"),
        ("ContentPolicyViolationError", "content_filter"),
        ("APITimeoutError", "timeout"),
        ("Timeout", "timeout"),
        ("ReadTimeout", "timeout"),
        ("DEADLINE_EXCEEDED", "timeout"),
        ("504", "timeout"),
        ("overloaded_error", "overloaded"),
        ("ServiceUnavailableError", "overloaded"),
        ("HTTP 529", "overloaded"),
        ("AuthenticationError", "authentication"),
        ("invalid_api_key", "authentication"),
        ("UNAUTHENTICATED", "authentication"),
        ("PermissionDeniedError", "permission"),
        ("403", "permission"),
        ("NotFoundError", "not_found"),
        ("model_not_found", "not_found"),
        ("APIConnectionError", "connection"),
        ("ConnectionResetError", "connection"),
        ("CancelledError", "cancelled"),
        ("client_disconnected", "cancelled"),
        ("BadRequestError", "invalid_request"),
        ("invalid_request_error", "invalid_request"),
        ("422", "invalid_request"),
        ("InternalServerError", "server_error"),
        ("server_error", "server_error"),
        ("api_error", "server_error"),
        ("500", "server_error"),
        ("status 502", "server_error"),
        ("_OTHER", "other"),
        ("failed", "other"),
        ("4290 things", "other"),
    ],
)
def test_an_error_has_the_class_that_its_words_say(error: str, expected: str) -> None:
    assert error_class_of(error) == expected


@given(st.text())
def test_any_error_has_one_of_few_classes(error: str) -> None:
    assert error_class_of(error) in ERROR_CLASSES


def test_the_table_of_statuses_is_right() -> None:
    """api/README.md says which class each status is."""
    text = (Path(__file__).parents[3] / "api/README.md").read_text()
    table = text.partition("| status | `error_class` |\n|---|---|\n")[2].partition("\n\n")[0]
    said: dict[str, str] = {}
    for line in table.splitlines():
        statuses, name = line.strip("| ").split(" | ")
        said |= dict.fromkeys(statuses.split(", "), name.strip("`"))
    others = {family: said.pop(f"any other {family}") for family in ("4xx", "5xx")}
    for status in range(400, 600):
        expected = said.get(str(status), others[f"{status // 100}xx"])
        assert error_class_of(str(status)) == expected
    assert {*said} <= {str(status) for status in range(400, 600)}
    assert error_class_of("429 insufficient_quota") == "quota"
