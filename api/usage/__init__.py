"""The native paths that read counters: /v1/usage, /v1/dimensions, /v1/calls and others.

    endpoints   the routes: from a request to an answer with its ETag
    latest_calls  /v1/calls
    export      /v1/export: rows of a view as Parquet or Arrow
    question    a request to a parsed question, cached for a second
    query       a parsed question
    parameters  the parameters of a request to a UsageQuery
    filters     the filters of a question
    steps       its buckets, and whether what is stored can make them
    groups/     which groups an answer shows, and in which form
    sections    sums to the rows of an answer
    bodies      the JSON of an answer
    several     several questions in one POST, of one atomic read
    changes     the change between two ranges, by group
    distinct    counts of distinct values, such as users
    render      rows as JSON, CSV or newline-delimited JSON
    openapi     the description of these paths

A POST takes the same parameters as a GET, as a JSON object.
"""
