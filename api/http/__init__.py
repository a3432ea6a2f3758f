"""What all paths share.

    durations          durations in buckets, for metrics
    caller             who sends the current request
    application        a dialect as an application with its own handlers of errors
    problems           errors of /v1 as RFC 9457 problems
    parameters         checks of parameter names and values
    json_body          reads the JSON body of a request
    shared_bytes       the bytes that requests hold at the same time, with a share for each tenant
    json_encoding      writes JSON
    prepared_response  a response that is built once and sent many times
    singleflight       equal requests at the same time share one computation
    arrivals           a few requests of a tenant begin in one round of the event loop
    tenant_shares      what each tenant holds of something limited
    tenant_turns       a few pieces of work at a time, for each tenant in its turn
    answer_cache       the latest answers

Nothing here knows a dialect.
"""
