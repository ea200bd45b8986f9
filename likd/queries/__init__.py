"""Reads and merges: totals, top lists, trends, live changes."""
