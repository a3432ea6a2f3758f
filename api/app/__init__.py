"""The API as one process.

    main         builds all parts, and serves them
    dispatch     chooses the application that answers a path
    compression  gzip for long answers
    health       /healthz and /readyz
    openapi      /openapi.json and /docs

Of the API only main reads the clock and draws ids; secrets of keys come from auth/keys.
"""
