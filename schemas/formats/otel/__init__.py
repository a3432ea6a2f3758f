"""OpenTelemetry: what arrives as OTLP, read as events of the contract. Pure.

    spans      spans to events, and OTLP's JSON encoding
    protobuf   OTLP's binary encoding; the only module of the formats that needs protobuf

Sources: opentelemetry-proto 1.x; schemas/contracts/producers.md.
"""
