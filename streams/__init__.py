"""Kafka to Redis: reads usage events, counts them, and stores the counters. See streams/README.md.

The folders, in the order of an event's path:

    meter/       the part that producers add to their app
    kafka/       consumer, producer, topics, offsets; the only import of aiokafka
    core/        the rules: decode, columns, fold, calls, prices, dead letters; no I/O
    redis/       counters, series ids, compaction, generations, Lua functions; the only import of redis
    worker/      the loop that polls, folds and commits, and its process
    rebuild/     fills the next generation of the counters and switches to it
    directory/   the process that reads names of users, groups and chats
    operations/  status, accept, and the replay of dead letters
"""
