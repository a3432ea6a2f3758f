"""The monitor of a process: metrics and probes on a port of their own, without a key.

The modules:

    server        serves `/metrics`, `/livez`, `/readyz` and `/startupz`
    counting      the state of counting, from Redis and Kafka
    view_series   how many series each view has
    usage         usage as metrics, from the store
    usage_counters  what these show when the store's sums fall
    background    an event loop in a thread of its own
    installation  the status for `odometer status` and `GET /v1/status`
    process       the monitor of a worker, directory or API: probes that ask its event loop
"""
