"""The dialect of the LiveKit voice platform: /admin/analytics. The folder to copy for a new dialect.

    endpoints  the routes, and how a request is answered
    questions  the table of paths: what each asks and how it is shown
    bodies     from rows to the data of an answer
    errors     the platform's answer to every error
    openapi    the description of the paths

schemas/contracts/livekit.md says what its server answers.
"""
