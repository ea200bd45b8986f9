"""Faults on request, for tests of the whole daemon."""
