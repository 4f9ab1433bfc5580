"""Where test sets and a checkpoint lie that the project cannot ship; tests that need them skip and say why."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("MAMBAIRV2_SHARED", Path(__file__).resolve().parents[2] / "shared"))
TEST_SETS = SHARED / "data" / "test"
CHECKPOINT = SHARED / "weights" / "mambairv2-light-x4-ntire2025.pth"
