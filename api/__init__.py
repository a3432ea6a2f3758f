"""Redis to HTTP: the query and the dialects that ask it."""
