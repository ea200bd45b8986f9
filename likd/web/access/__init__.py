"""Decides what each caller may do: tokens, sessions, origins, limits."""
