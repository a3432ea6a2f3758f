"""Questions of the tests of `/v1/usage`, over HTTP; each answer has the form that is promised."""

from __future__ import annotations

from typing import Any

import httpx

from schemas.responses.usage import UsageAnswer

PATH = "/v1/usage"


async def ask(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    response = await client.get(PATH, params=params)
    assert response.status_code == 200, response.text
    UsageAnswer.model_validate_json(response.content)
    found: dict[str, Any] = response.json()
    return found
