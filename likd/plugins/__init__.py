"""Handlers and observers: what others may add, each isolated from the rest."""
