"""The rules of counting, as functions of values: no I/O, no clock.

In the order of an event's path:

    batch           when a batch is committed: by count, by bytes, by age
    decode          bytes of records to typed events, many at once
    columns         the events of a batch as arrays
    pricing         costs of events that came without one
    price_formula   a price as integers, for pricing
    tallies         names and counts for `odometer status`
    rollup          sorting and summing arrays
    calls           bookings of calls
    users           updates of users, and the latest calls
    chats           updates of chats
    fold            events to one delta
    dead_letters    how a dead letter is written, read, corrected and sent again
    resume_checks   whether it is safe to continue
    explain         what one event would be counted as
    ports           the interfaces of the log, the counters and the clock
"""
