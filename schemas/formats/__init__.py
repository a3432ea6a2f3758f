"""What producers already send, read as events of the contract: one module per format. Pure.

    vendors         one module per vendor of models: what its API answers
    speech          one module per vendor of speech
    frameworks      one module per framework, gateway or agent: what it reports about calls
    otel            OpenTelemetry: OTLP's encodings, and spans to events
    cloudevents     CloudEvents over HTTP
    neutral         our own event, with a fast reader
    parse           a body to events, validated by the full model; needs pydantic
    objects         the same with any validation; the meter uses it with msgspec alone
    complete        what a module read, completed from the context and validated
    parsed          events, skips and refusals of a body; which report of an answer counts
    joining         completes the last event of a stream with what came before it
    detect          the names of the formats, and how to tell a format from a body
    draft           what a format's module makes of one object
    context         what a request adds to its objects: agent, user, call, latency
    times           times of answers, and which of them cannot be right
    body            bytes to JSON, with limits, and typed reads of its fields
    structure       counts what a text of JSON would build, before anything is built
    values          a body of several JSON values

To add a format, write its module, and name it in `detect` and in the readers of `objects`. If it is of
one vendor or protocol, name that in `complete`.
"""
