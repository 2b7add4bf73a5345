"""The helpers of other tests are found here by the same names as in them."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("fixtures", "faults", "chart", "deploy")]
