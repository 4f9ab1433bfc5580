"""Chains: sizes, order, passes, margins, seeds."""

import numpy as np
import pytest

from mambairv2.images.degradation.blur import Blur
from mambairv2.images.degradation.chain import Chain, parse
from mambairv2.images.degradation.compression import Jpeg, to_floats, to_pixels
from mambairv2.images.degradation.noise import Noise
from mambairv2.images.degradation.resizing import Resize, Shrink

ALL = (
    Blur(shapes=("isotropic", "anisotropic", "focus", "motion"), probability=0.7),
    Resize(scale=(0.6, 1.4), back=0.5, probability=0.5),
    Shrink(),
    Noise(models=("gaussian", "poisson"), probability=0.6),
    Jpeg(probability=0.9),
)


@pytest.fixture
def target(image):
    return to_pixels(image)


@pytest.mark.parametrize("order", ["given", "random"])
@pytest.mark.parametrize("passes", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_an_input_has_the_size_of_target_over_scale(target, order, passes, scale):
    chain = Chain(ALL, order, passes)
    for seed in range(4):
        damaged = chain(target, scale, np.random.default_rng(seed))
        assert damaged.shape == (48 // scale, 60 // scale, 3)
        assert damaged.dtype == np.uint8
        np.testing.assert_array_equal(damaged, chain(target, scale, np.random.default_rng(seed)))
        assert chain(target, scale, np.random.default_rng(seed), (3, 2, 1, 0)).shape[0] == 48 // scale - 4


def test_without_a_shrink_the_chain_shrinks_at_its_end(target):
    wanted = {Chain((Shrink(),))(target, 2, np.random.default_rng(seed)).tobytes() for seed in range(40)}
    made = {Chain((Noise(sigma=(0, 0)),))(target, 2, np.random.default_rng(seed)).tobytes() for seed in range(40)}
    assert len(wanted) == 4
    assert made == wanted


def test_a_margin_makes_a_patch_as_it_is_in_the_whole_image(target):
    """Cut out with a margin and then damaged is damaged and then cut out, but for noise and the blocks of JPEG."""
    chain = Chain((Blur(sigma=(1, 1)), Shrink(filters=("lanczos",))))
    whole = chain(target, 2, np.random.default_rng(0))
    piece = chain(target[:44, 8:60], 2, np.random.default_rng(0), (4, 6, 8, 9))
    np.testing.assert_array_equal(piece, whole[4:14, 10:21])
    bare = chain(target[8:28, 20:42], 2, np.random.default_rng(0))
    assert (bare != whole[4:14, 10:21]).any()


@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (3, 5, 2, 1), (1, 0, 4, 7)])
def test_blocks_of_jpeg_begin_at_the_patch(target, margins):
    top, left, bottom, right = margins
    piece = target[: 32 + top + bottom, : 32 + left + right]
    blurred = Blur(sigma=(1, 1)).apply(to_floats(piece), np.random.default_rng(0))
    inner = blurred[top : top + 32, left : left + 32]
    expected = to_pixels(Jpeg(quality=(20, 20)).apply(inner, np.random.default_rng(0)))
    chain = Chain((Blur(sigma=(1, 1)), Jpeg(quality=(20, 20))))
    np.testing.assert_array_equal(chain(piece, 1, np.random.default_rng(0), margins), expected)


def test_random_order_draws_every_order(target):
    steps = (Blur(sigma=(2, 2)), Noise(sigma=(20, 20)))
    spreads = [Chain(steps, "random")(target, 1, np.random.default_rng(k)).astype(int) for k in range(12)]
    rough = [np.abs(np.diff(image, axis=1)).mean() for image in spreads]
    assert max(rough) > 3 * min(rough)  # noise that came first is blurred away


def test_two_passes_apply_everything_twice_and_shrink_once(target):
    once, twice = (Chain((Blur(sigma=(1, 1)),), passes=(n, n))(target, 1, np.random.default_rng(0)) for n in (1, 2))
    again = Chain((Blur(sigma=(1, 1)), Blur(sigma=(1, 1))))(target, 1, np.random.default_rng(0))
    np.testing.assert_array_equal(twice, again)
    assert twice.var() < once.var()
    assert Chain((Shrink(),), passes=(2, 2))(target, 2, np.random.default_rng(0)).shape == (24, 30, 3)


def test_without_rounding_the_input_leaves_the_range(target):
    damaged = Chain((Noise(sigma=(60, 60)),), rounded=False)(target, 1, np.random.default_rng(0))
    assert damaged.dtype == np.float32
    assert damaged.max() > 1


def test_steps_are_read_from_plain_values():
    steps = parse(({"kind": "blur", "sigma": [0.5, 1]}, {"kind": "jpeg", "quality": (40, 60)}))
    assert steps == (Blur(sigma=(0.5, 1)), Jpeg(quality=(40, 60)))
    with pytest.raises(ValueError, match="fog"):
        parse(({"kind": "fog"},))
    with pytest.raises(TypeError, match="sigmas"):
        parse(({"kind": "blur", "sigmas": (0, 1)},))
