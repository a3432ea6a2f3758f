"""The commands of an operator, on running servers.

The modules:

    status         positions, lag, complete_through, dead letters and pauses
    verdict        whether events are counted, and what to do next
    accept         lets paused partitions continue without lost records
    replay         sends dead letters again
    letter_counts  counts dead letters by tenant, for `GET /v1/status`
"""
