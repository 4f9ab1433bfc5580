"""Names of packaged weights by task and scale."""

import pytest

from mambairv2.tasks import weights_name


def test_names_of_packaged_weights():
    assert [weights_name("sr"), weights_name("sr", 4), weights_name("denoise"), weights_name("jpeg", 1)] == [
        "sr-x2", "sr-x4", "denoise", "jpeg",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="denoise comes at scale 1, got 2"):
        weights_name("denoise", 2)
