"""The contracts: the event, its limits, the grid of time, the views, the layout of the counters.

Pure: no I/O, no clock, and nothing of `streams`, `api` or `deploy` is imported here.
"""
