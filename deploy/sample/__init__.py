"""Sample traffic: realistic usage events, the same for the same seed.

    process   the process of `odometer simulate`: progress and signals
    sender    history once, then live events, with retries
    traffic   when sessions begin, and what happens in a call, a chat or a task
    session   one session: its state and its requests to models
    cast      models, agents and users

It is for trying and testing; nothing else depends on it.
"""
