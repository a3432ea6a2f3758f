"""Events over HTTP to Kafka.

    endpoints     POST /v1/events
    otlp          POST /v1/traces, /v1/logs and /v1/metrics
    otlp_sources  services that send logs, and usage that was not counted
    langfuse      POST /api/public/ingestion, as Langfuse's SDKs send it
    request_body  reads and decompresses a body within limits
    body_reader   parses bodies, large ones in threads until their client leaves
    memory        returns the memory of large bodies to the system
    records       validates events, and makes records and the answer
    id_quota      how many event ids a tenant may have in Redis
    producer      sends records to Kafka; the only import of aiokafka
    partitioner   the partition of each key, as all Kafka clients choose it
    backfill      lets history wait for the workers
    pacing        how much history may wait to be counted
    openapi       the description of the paths

An answer is sent after Kafka has all records (acks=all).
"""
