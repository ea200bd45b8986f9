"""What scripts/chaos does to daemons: one, or several on one store."""

import sys
from pathlib import Path

# Its servers and daemons are those of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
