"""The directory: names of users, groups and chats, from three Kafka topics into Redis.

The modules:

    metrics    what it has written, for Prometheus, and whether it is ready
    process    the process: a Faust App
    records    the records of the topics
    settings   its settings and topics
    store      writes to Redis
"""
