"""The API as one process.

    main           builds all parts, and serves them
    server         the HTTP server: limits and deadlines of a connection
    server_limits  the bounds of a connection
    caching        what every answer says to caches
    connections    limits of connections, in all and of each tenant
    dispatch       chooses the application that answers a path
    big_integers   integers beyond 2^53 as texts, on request
    access_log     a line for each request, if wanted
    compression    gzip for long answers
    sending        long answers in pieces, and the bytes that clients have not read
    metrics      what is served, for Prometheus
    health         /healthz and /readyz
    origins        whose pages may ask (CORS)
    openapi        /openapi.json and /docs

Of the API only main reads the clock and draws ids; secrets of keys come from auth/keys.
"""
