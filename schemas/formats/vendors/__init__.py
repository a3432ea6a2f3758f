"""What the APIs of vendors answer, read as events: one module per vendor. Pure.

    openai     chat, responses, realtime, transcription, speech, embeddings
    anthropic  messages and their streams

A response's own id is the identity, where the vendor gives one.
"""
