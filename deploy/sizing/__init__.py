"""`odometer size`: what a load needs, computed from what was measured.

    command    options, table and JSON
    measured   every figure that the estimate rests on, with its source
    estimate   the arithmetic, as functions of values

Measure again where something changed, and change `measured` only.
"""
