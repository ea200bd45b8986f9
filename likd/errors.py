"""The errors of likd: what a caller may want to tell from a bug.

Each is raised where it happens and translated at the boundaries: a line for the command line, a problem for HTTP.
"""

from __future__ import annotations


class LikdError(Exception):
    """Something that likd expects to go wrong at times; the message says what, for people."""


class StartError(LikdError):
    """The daemon can't start as it is configured, here and now."""
