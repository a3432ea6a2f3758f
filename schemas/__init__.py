"""The contracts that all parts share: what an event, an answer and a key in Redis look like. Pure.

No I/O and no clock. Nothing of `streams`, `api` or `deploy` is imported here.

    event/      the usage event: its fields, its fast decoder, its envelope, its identity
    formats/    producer formats to usage events, one module each
    responses/  the bodies that the API answers, one module per dialect
    catalog/    measures, views, an operator's catalog file, sketches
    prices/     price lists, the cost of an event, names of providers
    store/      keys and rows in Redis, and the digest of a generation
    tiers       time buckets, how long each is kept, and how a bound is rounded
    units       US dollars and seconds to whole nano-USD and milliseconds
    quotas      quotas of tenants
    terminal    texts of others for a terminal
    limits      every limit of an event, with its reason
    errors      the errors of the whole project

`schemas/contracts/` holds the pages that docstrings cite: what other systems send and answer.
`schemas/README.md` is for people who send events.
"""
