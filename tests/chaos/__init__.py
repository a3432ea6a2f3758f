"""Real processes under load and seeded faults; `python -m tests.chaos` is the long form."""
