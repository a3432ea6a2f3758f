"""What the APIs of vendors of models answer, read as events: one module per vendor. Pure.

    openai        chat, responses, realtime, transcription, speech, embeddings, batches
    azure         what tells that an answer in OpenAI's format is Azure's
    openai_usage  its token counts, and those of vendors that answer in its format
    anthropic     messages, their streams and batches
    gemini        Gemini's generateContent, its stream, batches, embeddings and its Live API
    gemini_interactions  Gemini's Interactions API
    bedrock       Amazon Bedrock's Converse, its stream, InvokeModel and Nova Sonic
    cohere        Cohere's chat, embeddings and reranking
    mistral       Mistral's OCR and transcriptions
    ollama        Ollama's own chat, generate and embed
    usage         totals that leave parts out, and fields that are unknown

A response's own id is the identity, where the vendor gives one.
"""
