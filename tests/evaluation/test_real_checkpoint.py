"""A checkpoint trained by others, in the published layout, reaches its figures with this network."""

import pytest

from mambairv2.evaluation.evaluate import evaluate_set, mean, whole_images
from mambairv2.evaluation.protocol import Protocol
from mambairv2.weights.load import load_model
from shared_data import CHECKPOINT, TEST_SETS, needs_checkpoint


@needs_checkpoint
def test_light_x4_of_ntire_2025_on_set5():
    restore = whole_images(load_model(CHECKPOINT))
    score = mean(evaluate_set(restore, TEST_SETS / "Set5", Protocol("sr", 4)))
    assert score.psnr == pytest.approx(32.51, abs=0.01)
    assert score.ssim == pytest.approx(0.8988, abs=1e-4)
