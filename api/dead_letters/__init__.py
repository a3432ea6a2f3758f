"""`/v1/dead-letters`: records that could not be counted. An admin sees, corrects and replays those of the own
tenants.

The modules:

    endpoints  the paths, and who may see what
    source     what reads and replays dead letters: the command passes it
    audit      who replayed what
    openapi    the description of the paths
"""
