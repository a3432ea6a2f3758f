"""What producers already send, read as events of the contract: one module per format. Pure.

    vendors         one module per vendor of models: what its API answers
    frameworks      one module per framework or gateway: what it reports about calls
    agentlens       the ingest events of AgentLens
    otel            OpenTelemetry: OTLP's encodings, and spans to events
    cloudevents     CloudEvents over HTTP
    neutral         our own event, with a fast reader
    parse           a body to events, validated by the full model; needs pydantic
    objects         the same with any validation; the meter uses it with msgspec alone
    detect          the names of the formats, and how to tell a format from a body
    draft           what a format's module makes of one object
    context         what a request adds to its objects: agent, user, call, latency
    body            bytes to JSON, with limits, and typed reads of its fields

To add a format, write its module, and name it in `detect` and in the readers of `objects`.
"""
