"""OpenAPI of `/v1/status` and `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from schemas.responses.status import OwnStatus, WholeStatus

Object = dict[str, Any]

MODELS: Final[tuple[type[BaseModel], ...]] = (WholeStatus, OwnStatus)


def paths(answers: Mapping[type[BaseModel], Object], errors: Object) -> Object:
    """The paths; `errors`: the responses that each of them can have."""
    keyed = {status: errors[status] for status in ("400", "401", "403", "429", "503")}
    both = {"anyOf": [answers[WholeStatus], answers[OwnStatus]]}
    return {
        "/v1/status": {
            "get": {
                "operationId": "getStatus",
                "summary": "Whether events are counted, dead letters, and models without a price",
                "description": "A monitor, and a super-admin of all tenants, reads the status of the whole"
                " installation, as `odometer status --json` prints it. Every other key, and a"
                " super-admin who names a tenant, reads the status of the tenant.",
                "parameters": [
                    {
                        "name": "tenant",
                        "in": "query",
                        "required": False,
                        "description": "The tenant, if the key has several. The header"
                        " X-Odometer-Tenant does the same.",
                        "schema": {"type": "string", "minLength": 1},
                    }
                ],
                "responses": {
                    "200": {
                        "description": "The status.",
                        "content": {"application/json": {"schema": both}},
                    },
                    **keyed,
                },
            }
        },
        "/metrics": {
            "get": {
                "operationId": "getMetrics",
                "summary": "The metrics of this process and the state of counting, for Prometheus",
                "description": "Needs the role monitor, or super-admin of all tenants."
                " deploy/README.md lists the metrics. The monitor port serves the same without a key.",
                "responses": {
                    "200": {
                        "description": "The metrics.",
                        "content": {
                            kind: {"schema": {"type": "string"}}
                            for kind in (CONTENT_TYPE_PLAIN_0_0_4, CONTENT_TYPE_LATEST)
                        },
                    },
                    **{status: keyed[status] for status in ("400", "401", "403", "429", "503")},
                },
            }
        },
    }
