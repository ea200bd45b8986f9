"""`python -m likd.web.fronts`: a front, started by the engine."""

from __future__ import annotations

import sys

from likd.web.fronts.front import main

main(sys.argv[1:])
