"""`python -m likd.web.fronts`: a front, as the engine starts it."""

from __future__ import annotations

import sys

from likd.web.fronts.front import main

main(sys.argv[1:])
