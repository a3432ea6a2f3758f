"""Commands to watch the system from a terminal.

    usage   `odometer usage`: a table of `/v1/usage`
    tail    `odometer tail`: events as they are judged
    asking  asks the API over HTTP

They only read.
"""
