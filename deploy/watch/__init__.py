"""Commands to watch the system from a terminal.

    usage   `odometer usage`: a table of `/v1/usage`
    asking  asks the API over HTTP

They only read.
"""
