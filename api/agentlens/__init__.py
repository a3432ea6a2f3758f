"""The AgentLens dialect: /api/analytics/llm, /api/events, /api/agents, /api/health.

    endpoints  the routes
    access     which keys may use which methods, and their filters
    analytics  GET /api/analytics/llm
    events     GET /api/events and /api/agents
    ingest     POST /api/events
    health     GET /api/health
    errors     AgentLens's answer to every error
    openapi    the description of the paths

schemas/contracts/agentlens.md says what its server answers.
"""
