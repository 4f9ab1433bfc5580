"""What tests share: where the given data lies (if it is there), and single-threaded, seeded torch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from shared_data import SHARED

# In CI the same examples every time; elsewhere new ones at each run.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


torch.set_num_threads(1)  # what is small gains nothing from two, and waits for both where others run beside


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def shared() -> Path:
    """The folder of test sets and photographs; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED} (set MAMBAIRV2_SHARED)")
    return SHARED
