"""Published figures are found by task, scale, level and test set."""

from mambairv2.evaluation.literature import published
from mambairv2.tasks import TASKS


def test_published_figures_are_whole():
    assert published("sr", 2, 0, 3, True, "Set5")["MambaIRv2-light"] == (38.26, 0.9615)
    assert published("jpeg", 1, 10, 1, False, "live1")["MambaIRv2-B"] == (29.91, 0.8301)
    assert published("jpeg", 1, 10, 3, False, "LIVE1") == {}
    assert published("sr", 2, 0, 3, True, "Mine") == {}
    for scale in (2, 3, 4):
        for light in (True, False):
            assert all(len(published("sr", scale, 0, 3, light, name)) >= 3 for name in TASKS["sr"].sets)
