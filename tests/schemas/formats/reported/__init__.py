"""Payloads as users of similar systems reported them, and the bill that the vendor sends for each."""
