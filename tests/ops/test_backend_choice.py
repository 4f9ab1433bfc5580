"""Which backend runs: the one that is asked for, or an error that says why it is not here."""

import os
import subprocess
import sys

import pytest
import torch

from mambairv2.ops import backends
from mambairv2.ops.backend_choice import scan_backend
from mambairv2.ops.library import loader


def test_backend_choice(monkeypatch):
    u = torch.zeros(2, 1, 5)
    assert scan_backend(u, "chunked") == "chunked"
    with pytest.raises(ValueError, match="unknown backend 'tritonn'"):
        scan_backend(u, "tritonn")
    with pytest.raises(RuntimeError, match="'triton' is not available"):
        scan_backend(u.to("meta"), "triton")
    monkeypatch.setattr(loader, "unavailable", lambda: "no compiler was there")
    assert scan_backend(u) == "chunked"
    with pytest.raises(RuntimeError, match="'native' is not available: no compiler was there"):
        scan_backend(u, "native")
    with pytest.raises(RuntimeError, match="meta"):
        scan_backend(u.to("meta"), "native")


def test_backends_say_why_one_is_missing():
    assert set(backends()) == {"reference", "chunked", "native", "sdpa", "triton"}
    assert backends()["reference"] is None
    code = "from mambairv2.ops import backends; print(backends()['native'])"
    path = os.pathsep.join(part for part in sys.path if part)
    environment = {**os.environ, "MAMBAIRV2_NO_NATIVE": "1", "PYTHONPATH": path}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert said == "switched off by MAMBAIRV2_NO_NATIVE\n"
