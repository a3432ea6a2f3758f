"""Figures, not promises: run by hand, printed, asserted nowhere."""
