"""Benchmarks, run by hand. They print figures and assert totals, never times; see tests/bench/RESULTS.md."""
