"""What tests share: single-threaded, seeded torch, and a list of what was skipped."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

from skipped_tests import SkippedTests

# In CI the same examples every time; elsewhere new ones at each run.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


torch.set_num_threads(1)  # what is small gains nothing from two, and waits for both where others run beside


def pytest_addoption(parser):
    parser.addoption("--skipped-before", action="store_true", help="run only what the last run skipped")


def pytest_configure(config):
    if config.pluginmanager.hasplugin("cacheprovider"):
        config.pluginmanager.register(SkippedTests(config))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
