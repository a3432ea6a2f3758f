"""What lies in Redis: keys, packed records, and the digest that guards them. Pure.

Functions in Lua write most of it: `streams/redis/lua`, and directory.lua in this folder.

    layout        the counters: keys, pages of rows, the meta record
    chunk_version  whether pages are as they were read
    series_names  the name of a series: its values as one text
    counter_rows  rows of counters as bytes: their form, and how they are written
    counter_reader  reads pages of counters
    generation    what decides the counters of a generation, and its digest
    added_views   views that were added without a rebuild, and since when each counts
    quota_counts  counts for the quotas of tenants
    recent_calls  the latest model calls of a tenant
    chats         the chats of a tenant
    directory     users, groups and titles of chats; directory.lua writes them
    keys          the record of an API key
    eviction      whether Redis evicts counters
    redis_errors  an error that Redis sends, as one of ours
"""
