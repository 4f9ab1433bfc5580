"""The cache of decoded images: every pixel, made anew where a file changed, whole or not at all."""

import os
import subprocess
import sys

import numpy as np
import pytest
from image_folders import random_picture, write

from mambairv2.images.pixels import read_image
from mambairv2.images.resize import imresize
from mambairv2.training.data.image_cache import detail, open_cache


def test_cache_holds_every_pixel_and_its_matlab_half(folder, tmp_path):
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    assert len(cache.entries) == 3
    for entry in cache.entries:
        target = read_image(folder / entry.file, 3)[: entry.height * 2, : entry.width * 2]
        half = imresize(target, 0.5)
        for flat, start, pixels in (
            (cache.pixels("target"), entry.target, target),
            (cache.pixels("input"), entry.input, half),
        ):
            np.testing.assert_array_equal(flat[start : start + pixels.size], pixels.reshape(-1))


def test_cache_is_reused_until_a_file_changes(folder, tmp_path):
    first = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    assert open_cache([folder], 2, 3, cache_dir=tmp_path / "cache").folder == first.folder
    write(folder / "new.png", random_picture(40, 40))
    assert open_cache([folder], 2, 3, cache_dir=tmp_path / "cache").folder != first.folder
    assert not list((tmp_path / "cache").glob("*.*"))


DECODE = """
import sys, time
from pathlib import Path
from mambairv2.training.data.image_cache import open_cache
def stall(done, total):
    if done == 2:
        print("decoding", flush=True)
        time.sleep(60)
open_cache([Path(sys.argv[1])], 2, 3, cache_dir=Path(sys.argv[2]), tick=stall)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks that tell what a killed process left")
def test_decoding_that_was_killed_leaves_nothing_behind(folder, tmp_path):
    command = [sys.executable, "-c", DECODE, str(folder), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"decoding\n"
    (unfinished,) = (tmp_path / "cache").iterdir()
    grey = open_cache([folder], 2, 1, cache_dir=tmp_path / "cache").folder
    assert unfinished.is_dir()  # a live process's is left alone
    process.kill()
    process.communicate()
    whole = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache").folder
    assert set((tmp_path / "cache").iterdir()) == {grey, whole}


def test_broken_images_are_left_out_and_named(folder, tmp_path):
    whole = (folder / "part0" / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image")
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    assert len(cache.entries) == 3
    assert {"cut.png", "text.jpg"} == {fault.split(":")[0].split("/")[-1] for fault in cache.skipped}


def test_nothing_readable_says_why(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match=r"a\.png"):
        open_cache([tmp_path], 2, 3, cache_dir=tmp_path / "cache")


def test_detail_by_hand():
    pixels = np.zeros((40, 64, 1), np.uint8)
    pixels[:, 32:] = 64
    np.testing.assert_allclose(detail(pixels), [[0, 2], [0, 2]])
