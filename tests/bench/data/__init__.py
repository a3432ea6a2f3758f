"""The events that benchmarks load and send, with known totals."""
