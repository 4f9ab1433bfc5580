"""Half precision: restorations stay close to those in float32, whatever they are asked by."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.network.backends import without_bfloat16
from mambairv2.restoration.precision import PrecisionWarning
from mambairv2.restoration.restorer import Restorer
from small_weights import save_tiny
from stand_in import load, picture, pixels

pytestmark = pytest.mark.filterwarnings("ignore::mambairv2.restoration.precision.PrecisionWarning")
HALF = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("weights") / "w.safetensors")


@HALF
@pytest.mark.parametrize("options", [{}, {"tile": 64}, {"self_ensemble": True}], ids=str)
def test_half_precision_is_close(weights, dtype, options):
    image = pixels(70, 50, 3)
    exact = Restorer(weights, "cpu", **options).restore(image)
    half = Restorer(weights, "cpu", dtype=dtype, **options)
    found = half.restore(image)
    assert (found.dtype, found.shape) == (exact.dtype, exact.shape)
    assert np.abs(found.astype(int) - exact).max() <= 4


def test_a_network_keeps_its_dtype_unless_another_is_asked_for(weights):
    network = Restorer(weights, "cpu").model.to(torch.bfloat16)
    assert next(Restorer(network, "cpu").model.parameters()).dtype == torch.bfloat16
    assert next(Restorer(network, "cpu", dtype="float32").model.parameters()).dtype == torch.float32


def test_bfloat16_on_a_cpu_is_that_of_the_products(weights):
    image, there = pixels(20, 30, 3), without_bfloat16() is None
    with nullcontext() if there else pytest.warns(PrecisionWarning, match="computing in float32, for want of"):
        restorer = Restorer(weights, "cpu", dtype="bfloat16")
    assert next(restorer.model.parameters()).dtype == torch.float32
    assert restorer.model.backends.products == ("bfloat16" if there else "float32")
    found = restorer.restore(image)
    back = Restorer(restorer.model, "cpu", dtype="float32").restore(image)
    assert np.array_equal(back, Restorer(weights, "cpu").restore(image))
    assert np.array_equal(back, found) != there


@pytest.mark.parametrize("dtype", ["float64", "int8", "half"])
def test_other_dtypes_are_refused(weights, dtype):
    with pytest.raises(ValueError, match=f"dtype is one of float32, bfloat16, float16, got '{dtype}'"):
        Restorer(weights, "cpu", dtype=dtype)


@HALF
def test_the_command_restores_in_half_precision_and_records_it(tmp_path, weights, dtype):
    picture(20, 30, 3).pngsave(str(tmp_path / "a.png"))
    command = ["restore", str(tmp_path / "a.png"), "--weights", str(weights), "--precision", dtype]
    record = ["--manifest", str(tmp_path / "record.jsonl")]
    done = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "b.png"), *record])
    assert done.exit_code == 0, done.output
    expected = Restorer(weights, "cpu", dtype=dtype).restore(tmp_path / "a.png")
    assert np.array_equal(load(tmp_path / "b.png").numpy(), expected)
    assert f'"precision": "{dtype}"' in (tmp_path / "record.jsonl").read_text()
    assert json.loads((tmp_path / "record.jsonl").read_text().splitlines()[0])
