"""The monitor of a process: metrics and probes on a port of their own, without a key.

The modules:

    server        serves `/metrics`, `/livez`, `/readyz` and `/startupz`
    counting      the state of counting, from Redis and Kafka
    installation  the status for `odometer status` and `GET /v1/status`
    process       the monitor of a worker, directory or API: probes that ask its event loop
"""
