"""OpenTelemetry: what arrives as OTLP, read as events of the contract. Pure.

    spans         a span of a call to a model to its event
    model_calls   whether a span is a call to a model, by its own words
    costs         what a span says that its call costs
    usage         the counts of a span as inclusive totals
    requests      a request of any signal to what its parts become
    answers       the reports of one answer in one request are one event
    logs          log records of calls, such as coding agents write
    metrics       delta sums of tokens and costs
    attributes    the names of attributes, of all libraries
    reads         typed reads of them
    encoding      OTLP's requests as plain values, and its JSON
    protobuf      OTLP's binary encoding; the only module of the formats that needs protobuf
    wire          counts the parts of a binary request before they are built

Sources: opentelemetry-proto 1.x; schemas/contracts/producers.md.
"""
