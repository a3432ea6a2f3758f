"""API keys: who sends a request, what the key may do, and how keys are managed.

    authenticate  the key and the tenant of a request
    tokens        signed tokens that read within filters
    key_cache     keys that this process has looked up, and their rate limits
    keys          creating, importing, rotating and revoking keys
    key_records   the records in Redis, and the step that changes some
    key_shares    limits per tenant, and what an admin may pass on
    endpoints     /v1/keys
    sessions      sessions of browsers, as signed cookies
    session_endpoints  /v1/session
    keys_file     a copy of the keys outside Redis
    audit         who changed which key
    failures      who failed to authenticate
    openapi       the description of /v1/keys

Only the SHA-256 of a key is stored, in Redis.
"""
