"""The API as one process.

    main         builds all parts, and serves them
    server       the HTTP server: limits and deadlines of a connection
    connections  limits of connections, in all and of each tenant
    dispatch     chooses the application that answers a path
    access_log   a line for each request, if wanted
    compression  gzip for long answers
    sending      long answers in pieces, and the bytes that clients have not read
    health       /healthz and /readyz
    openapi      /openapi.json and /docs

Of the API only main reads the clock and draws ids; secrets of keys come from auth/keys.
"""
