"""What vendors of speech answer, and the requests they bill by, as events: one module each. Pure.

    deepgram    transcripts, and the end of a live one
    elevenlabs  speech requests, speech with timestamps, history, transcripts
    cartesia    speech requests, live transcripts
    assemblyai  transcripts, and the end of a live one

Text is measured where characters are billed, and never stored.
"""
