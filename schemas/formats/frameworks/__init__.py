"""What frameworks, gateways and agents report about calls to models, read as events. Pure.

    litellm        LiteLLM's StandardLoggingPayload
    livekit        metrics of LiveKit Agents
    langchain      LangChain's messages with usage
    langchain_chunks  the chunks of its streams, added up
    openai_agents  usage and spans of OpenAI's Agents SDK
    claude_code    transcripts of Claude Code
    codex          transcripts of Codex
    langfuse       Langfuse's ingestion
    helicone       Helicone's logs
    agentlens      the ingest events of AgentLens

One module per framework.
"""
