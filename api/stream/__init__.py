"""`/v1/stream`: answers of /v1/usage that are pushed when they change.

    endpoints  the route: limits, and the events of one stream
    feed       reads the questions of equal streams once, and wakes these streams
    feeds      the feeds of the process, and how many streams and rows there may be
    changes    the rows of a question, and which of them changed since a version
    openapi    the description of the path

Streams with equal questions of a tenant share a feed, so they share each read and each encoded event.
"""
