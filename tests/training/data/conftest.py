"""A folder of random pictures."""

import pytest
from image_folders import random_picture, write


@pytest.fixture
def folder(tmp_path):
    for number, (height, width) in enumerate([(40, 61), (33, 48), (70, 36)]):
        write(tmp_path / "images" / f"part{number % 2}" / f"{number}.png", random_picture(height, width, number))
    return tmp_path / "images"
