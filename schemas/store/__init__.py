"""What lies in Redis: keys, packed records, and the digest that guards them. Pure.

The functions that write are in Lua, beside the code that calls them.

    layout        the counters: keys, pages of rows, the meta record
    generation    what decides the counters of a generation, and its digest
    recent_calls  the latest model calls of a tenant
    chats         the chats of a tenant
    directory     users, groups and titles of chats; directory.lua writes them
    keys          the record of an API key
"""
