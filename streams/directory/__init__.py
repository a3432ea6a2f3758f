"""The directory: names of users, groups and chats, from three Kafka topics into Redis.

The modules:

    process    the process: a Faust App
    records    the records of the topics
    settings   its settings and topics
    store      writes to Redis
"""
