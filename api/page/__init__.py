"""The page at `/`: live usage in a browser. It has no build step and loads nothing from elsewhere.

    endpoints  serves the page and its assets

`assets/` has the page: plain ES modules, one stylesheet, and the released files of uPlot, unchanged, with
their licence and SHA-256 sums. The page asks only the native paths under /v1, as any client may.
"""
