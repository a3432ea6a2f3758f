"""The usage event: the one contract with producers. Pure.

    usage_event     the contract as a pydantic model, which explains each rejection
    event_struct    the same event as a msgspec struct: fields, limits, a fast decoder
    envelope        a record's fields, from plain JSON or a CloudEvent
    kinds           the kinds of events, and the default tenant
    age             how old an event may be, and how far ahead of its append
    identity        64-bit digests of events and calls, to recognise duplicates
    answer_id       ids of providers that identify an answer alone
    error_class     the class of an error, from its code or name
    partition_key   the Kafka key of an event's record

`event.schema.json` is the frozen JSON Schema of the event.
"""
