"""The state of the system over HTTP, for those who watch it.

    endpoints  `GET /v1/status` and `GET /metrics`
    openapi    their description

The command that serves the API passes how to read the state of the whole installation
(deploy/monitor/installation.py), because that asks Kafka too.
"""
