"""What producers already send, read as events of the contract: one module per format. Pure.

`parse.parse` is the entry: it reads a decoded body into events, skipped objects and refused objects.

- body           bytes to JSON, with limits; typed reads that name the path of what they refuse
- context        what a request adds to its objects: agent, user, call, latency
- detect         the names of the formats, and how to tell a format from a body
- draft          what a format's module makes of one object
- openai, anthropic, litellm, livekit, agentlens, otel, cloudevents, neutral
                 one format each
- otel_protobuf  OTLP's binary encoding; the only module here that needs protobuf
- objects        a body to events, by whatever model validates them; the meter uses it with msgspec
- parse          the same with the full model, which explains each refusal; needs pydantic

To add a format, write its module, and name it in `detect` and in the readers of `objects`.
"""
