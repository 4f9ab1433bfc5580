import pytest

from small_weights import save_tiny


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))
