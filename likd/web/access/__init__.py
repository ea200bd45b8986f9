"""Decides who may do what: tokens, sessions, origins, limits."""
