"""Images and options for small training runs."""

import numpy as np
import pytest
import pyvips
import torch

from mambairv2.training.setup.options import Options


@pytest.fixture(autouse=True)
def one_thread():
    usual = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only lose time by more
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    y, x = np.mgrid[:72, :80][..., None]
    for number in range(3):
        wave = np.sin(x / (3 + number) + np.arange(3)) * np.cos(y / 5)
        pyvips.Image.new_from_array(np.where(wave > 0.1, 220, 40).astype(np.uint8)).write_to_file(
            str(folder / f"{number}.png")
        )
    return folder


@pytest.fixture
def options(images, tmp_path):
    def make(name="run", **changes):
        return Options(tmp_path / name, (images,), accelerator="cpu", cache=images.parent / "cache", **changes)

    return make
