"""Ids of events and calls on real servers: who may collide with whom, and what a rebuild keeps."""
