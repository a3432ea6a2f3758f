"""The bodies that the API answers, keys in the order they are sent. Pure.

The models describe and check the bodies. Pages with many rows are written from plain objects.

    usage            `/v1/usage` and the other native pages; errors as RFC 9457
    ingest           `POST /v1/events`
    keys             `/v1/keys`
    session          `/v1/session`
    status           `GET /v1/status` and `odometer status --json`
    dead_letters     `/v1/dead-letters`
    agentlens        AgentLens's own API
    livekit          the LiveKit voice platform's analytics
    openai           OpenAI's organization usage API
    openwebui        Open WebUI's analytics
    openwebui_users  Open WebUI's users and groups
"""
