"""Where the shared images and parity files lie; tests that need them skip with the reason when they are
absent."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("MAMBAIRV2_SHARED", Path(__file__).resolve().parents[2] / "shared"))
TEST_SETS = SHARED / "data" / "test"
needs_shared = pytest.mark.skipif(
    not TEST_SETS.is_dir(),
    reason=f"no test images at {TEST_SETS}; set MAMBAIRV2_SHARED to the folder with data/test",
)
