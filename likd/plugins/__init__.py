"""Handlers and observers, which others may add: each is isolated from the rest."""
