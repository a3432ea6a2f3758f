"""Redis to HTTP, and HTTP to Kafka: the native API, its dialects, and the ingest.

    app        builds all parts and serves them; chooses the dialect of a path
    agentlens  AgentLens's paths under /api
    livekit    the LiveKit platform's paths under /admin/analytics
    openai     OpenAI's usage API under /openai
    openwebui  Open WebUI's paths under /api/v1
    usage      the native paths that read counters, such as /v1/usage
    page       the page at /: live usage in a browser
    stream     /v1/stream: answers of /v1/usage that are pushed
    status     /v1/status and /metrics: the state of the system
    dead_letters  /v1/dead-letters: records that could not be counted
    ingest     /v1/events and OTLP, and the producer to Kafka
    auth       API keys: authentication, limits, management, audit
    store      everything that reads Redis, and its caches
    query      from a question to pages, and from pages to rows; pure
    http       what all paths share: errors, bodies, cached answers
    errors     why an answer can fail

Each dialect is an application of its own with its own errors, and imports no other dialect.
api/README.md says how to ask, and how to add a dialect.
"""
