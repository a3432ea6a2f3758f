"""Records the calls of a client library, for `Meter.wrap`. No library is imported: it is the app's.

    wrap            which library a client is of; sets its hooks
    openai_hooks    the clients of OpenAI and Anthropic, which share their design
    google_hooks    the client of google-genai
    routes          the path of a request: which call of a model it is
    client_call     one call: its times, its answer or its error
    stream_notes    what the events of a stream say about its answer
    taps            reads the bytes of a response as the app does, and hides the extra usage chunk
    reduced         an answer without its texts, images and vectors

A hook never raises into the app: what fails in it is logged once, and the call goes on.
"""
