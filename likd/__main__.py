"""`python -m likd` is the `likd` command."""

from __future__ import annotations

from likd.cli import main

if __name__ == "__main__":
    main(prog_name="likd")
