"""The eight ways to turn and mirror a square."""

import numpy as np

from mambairv2.training.data.augmentation import WAYS, augment


def test_all_ways_differ_and_are_turns_and_mirrorings():
    image = np.arange(27).reshape(3, 3, 3)
    found = {augment(image, way).tobytes() for way in range(WAYS)}
    turns = {np.rot90(flip, turn).tobytes() for flip in (image, image[:, ::-1]) for turn in range(4)}
    assert len(found) == 8
    assert found == turns


def test_the_bits_by_hand():
    image = np.array([[1, 2], [3, 4]])[..., None]
    assert augment(image, 0)[..., 0].tolist() == [[1, 2], [3, 4]]
    assert augment(image, 1)[..., 0].tolist() == [[2, 1], [4, 3]]
    assert augment(image, 2)[..., 0].tolist() == [[3, 4], [1, 2]]
    assert augment(image, 4)[..., 0].tolist() == [[1, 3], [2, 4]]
    assert augment(image, 5)[..., 0].tolist() == [[2, 4], [1, 3]]  # mirrored, then rows and columns exchanged
