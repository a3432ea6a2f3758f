"""Kafka to Redis: the fold and what carries it."""
