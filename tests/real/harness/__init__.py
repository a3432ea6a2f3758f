"""Starts topics, workers and APIs for tests, and compares the counters with the oracle."""
