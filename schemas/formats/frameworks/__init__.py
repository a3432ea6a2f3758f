"""What frameworks and gateways report about calls to models, read as events. Pure.

    litellm  LiteLLM's StandardLoggingPayload
    livekit  metrics of LiveKit Agents

One module per framework.
"""
