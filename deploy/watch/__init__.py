"""Commands to watch the system from a terminal.

    usage   `odometer usage`: a table of `/v1/usage`
    tail    `odometer tail`: events as they are judged
    top     `odometer top`
    top_app  its screens, with textual
    frames  the same as plain text
    snapshot  what they show
    asking  asks the API over HTTP

They only read.
"""
