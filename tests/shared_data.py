"""Where test sets and checkpoints lie that the project cannot ship; tests that need them skip and say why."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("MAMBAIRV2_SHARED", Path(__file__).resolve().parents[2] / "shared"))
TEST_SETS = SHARED / "data" / "test"
CHECKPOINT = SHARED / "weights" / "mambairv2-light-x4-ntire2025.pth"

needs_shared = pytest.mark.skipif(
    not TEST_SETS.is_dir(),
    reason=f"no test images at {TEST_SETS}; set MAMBAIRV2_SHARED to the folder with data/test",
)
needs_checkpoint = pytest.mark.skipif(
    not (TEST_SETS.is_dir() and CHECKPOINT.is_file()),
    reason=f"no checkpoint {CHECKPOINT} (NTIRE 2025 efficient super-resolution, team 40) or no test images beside it",
)
