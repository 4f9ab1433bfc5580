import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mambairv2.images.errors import ImageError
from mambairv2.restoration.device import pick_device
from stand_in import load, picture, pixels, restorer


@pytest.mark.parametrize(
    ("name", "size", "channels", "dtype"),
    [
        ("one.png", (1, 1), 3, "uint8"),
        ("long.png", (300, 7), 3, "uint8"),
        ("grey.png", (20, 30), 1, "uint8"),
        ("grey_alpha.png", (20, 30), 2, "uint8"),
        ("deep.png", (20, 30), 3, "uint16"),
        ("alpha.png", (20, 30), 4, "uint8"),
        ("deep_alpha.tif", (17, 33), 4, "uint16"),
        ("float.tif", (17, 33), 3, "float32"),
        ("photo.jpg", (40, 50), 3, "uint8"),
        ("web.webp", (40, 50), 4, "uint8"),
    ],
)
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_files_keep_depth_bands_and_picture(tmp_path, name, size, channels, dtype, scale):
    source, target = tmp_path / name, tmp_path / "new" / name
    picture(*size, channels, dtype).write_to_file(str(source))
    done = restorer(scale).restore_file(source, target)
    before, after = load(source), load(target)
    assert (after.height, after.width) == (size[0] * scale, size[1] * scale)
    assert (after.bands, after.format, after.interpretation) == (
        before.bands,
        before.format,
        before.interpretation,
    )
    assert (done.source, done.target, done.size, done.scale, done.notes) == (source, target, size, scale, ())
    if min(size) > 10:
        small = after.resize(1 / scale, kernel="linear")
        peak = 1 if dtype == "float32" else np.iinfo(dtype).max
        assert abs(small.avg() - before.avg()) < 0.01 * peak


def test_restoring_twice_gives_identical_bytes(tmp_path):
    picture(150, 200, 4, "uint16").pngsave(str(tmp_path / "in.png"))
    for name in ("a.png", "b.png"):
        restorer(tile=96).restore_file(tmp_path / "in.png", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_tiles_and_whole_agree_where_tiles_see_enough(tmp_path):
    values = pixels(150, 200, 3)
    tiled, whole = restorer(tile=96).restore(values), restorer(tile="whole").restore(values)
    assert np.abs(tiled.astype(int) - whole).max() <= 2
    assert (tiled == whole).mean() > 0.95


def test_a_large_output_gathers_on_disk_and_leaves_nothing_else(tmp_path, monkeypatch):
    picture(90, 70, 4).pngsave(str(tmp_path / "in.png"))
    restorer(tile=64).restore_file(tmp_path / "in.png", tmp_path / "memory.png")
    monkeypatch.setattr("mambairv2.images.canvas.IN_MEMORY", 0)
    restorer(tile=64).restore_file(tmp_path / "in.png", tmp_path / "disk.png")
    assert (tmp_path / "disk.png").read_bytes() == (tmp_path / "memory.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.png", "in.png", "memory.png"]


def test_damage_found_midway_leaves_no_output(tmp_path, monkeypatch):
    monkeypatch.setattr("mambairv2.images.canvas.IN_MEMORY", 0)
    picture(200, 200, 3).pngsave(str(tmp_path / "in.png"))
    (tmp_path / "in.png").write_bytes((tmp_path / "in.png").read_bytes()[:-3000])
    with pytest.raises(ImageError, match=r"in\.png: is damaged or cut short"):
        restorer().restore_file(tmp_path / "in.png", tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 2), (20, 30, 3), (20, 30, 4), (1, 1, 3)])
def test_arrays_keep_layout_and_dtype(shape, dtype):
    values = pixels(*shape[:2], shape[2] if len(shape) == 3 else 1, dtype).reshape(shape)
    result = restorer().restore(values)
    assert result.dtype == values.dtype
    assert result.shape == (2 * shape[0], 2 * shape[1], *shape[2:])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_keep_layout_and_dtype(dtype):
    values = torch.from_numpy(pixels(20, 30, 3)).permute(2, 0, 1)
    values = values if dtype == torch.uint8 else values.to(dtype) / 255
    one = restorer().restore(values)
    assert (one.shape, one.dtype) == ((3, 40, 60), dtype)
    batch = restorer().restore(values.expand(2, -1, -1, -1))
    assert torch.equal(batch, torch.stack([one, one]))


def test_array_tensor_and_path_agree(tmp_path):
    values = pixels(40, 50, 3)
    picture(40, 50, 3).pngsave(str(tmp_path / "a.png"))
    one = restorer()
    tensor = torch.from_numpy(values).permute(2, 0, 1)
    assert np.array_equal(one.restore(values), one.restore(tmp_path / "a.png"))
    assert np.array_equal(one.restore(values), one.restore(tensor).permute(1, 2, 0).numpy())


def test_grey_through_a_network_for_rgb_is_grey():
    values = pixels(30, 40, 1)
    as_rgb = restorer().restore(values.repeat(3, 2))
    assert np.abs(as_rgb.mean(2) - restorer().restore(values)[..., 0]).max() <= 1


@pytest.mark.parametrize("scale", [1, 2])
def test_rgb_through_a_network_for_grey_restores_luma_and_keeps_colour(scale):
    values = pixels(30, 40, 3)
    result = restorer(scale, channels=1).restore(values) / 255
    luma = values @ np.array([0.299, 0.587, 0.114])
    grey = restorer(scale, channels=1).restore(luma.astype(np.float32) / 255)
    inside = np.s_[4:-4, 4:-4]
    assert np.abs(result @ np.array([0.299, 0.587, 0.114]) - grey)[inside].max() < 0.02
    kept = values[..., 0] - values[..., 2].astype(float)
    large = (result[..., 0] - result[..., 2])[::scale, ::scale] * 255
    assert np.abs(large - kept).mean() < 10


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((4, 4), np.int64),
        np.zeros((0, 4, 3), np.uint8),
        np.full((4, 4, 3), 1.5, np.float32),
        np.full((4, 4, 3), np.nan),
        torch.zeros(4, 4),
        torch.zeros(30, 20, 3),
        torch.zeros(2, 30, 20, 3),
        torch.zeros(3, 4, 4, dtype=torch.int64),
    ],
)
def test_other_shapes_dtypes_and_ranges_are_refused(image):
    with pytest.raises(ValueError):
        restorer().restore(image)


def test_a_tensor_with_channels_last_is_told_in_its_own_shape():
    with pytest.raises(ValueError, match=r"a tensor is \(C, h, w\) or .* got \(30, 20, 3\)"):
        restorer().restore(torch.zeros(30, 20, 3))


@pytest.mark.parametrize("image", [[[0, 1], [2, 3]], {"pixels": 3}, None])
def test_other_kinds_of_images_are_refused_with_the_remedy(image):
    with pytest.raises(TypeError, match=r"an image is a path, .* got \w+; try numpy\.asarray\(image\)"):
        restorer().restore(image)


def test_a_batch_of_none_gives_none():
    assert restorer().restore(torch.zeros(0, 3, 5, 6)).shape == (0, 3, 10, 12)


@given(height=st.integers(1, 90), width=st.integers(1, 90), channels=st.integers(1, 4), scale=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_any_size_gives_the_right_size(height, width, channels, scale):
    result = restorer(scale, tile=64).restore(np.full((height, width, channels), 99, np.uint8))
    assert result.shape == (height * scale, width * scale, channels)
    assert (np.abs(result.astype(int) - 99) <= 1).all()  # a flat image stays flat: no seams, no dark borders


def test_progress_and_cancelling(tmp_path):
    picture(100, 100, 3).pngsave(str(tmp_path / "in.png"))
    told = []
    restorer(tile=64).restore_file(
        tmp_path / "in.png", tmp_path / "out.png", progress=lambda *counts: told.append(counts)
    )
    assert told[-1] == (len(told), len(told))

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restorer(tile=64).restore_file(tmp_path / "in.png", tmp_path / "no.png", progress=cancel)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


def test_threads_can_share_a_restorer():
    one, values = restorer(tile=64), [pixels(70, 80, 3, seed=seed) for seed in range(4)]
    alone, together = [one.restore(value) for value in values], [None] * 4

    def work(k):
        together[k] = one.restore(values[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("name", ["cuda:77", "toaster"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(ValueError, match=f"no device {name} here"):
        pick_device(name)


@pytest.mark.parametrize("kind", ["array", "tensor", "file"])
def test_a_picture_without_colour_stays_without(tmp_path, kind):
    """A network whose channels differ must not tint a black-and-white picture that is stored as RGB."""
    tool = restorer(2)
    with torch.no_grad():
        tool.model.kernel[0] *= 0.9
    grey = pixels(20, 24, 1).repeat(3, axis=2)
    if kind == "array":
        made = tool.restore(grey)
    elif kind == "tensor":
        made = tool.restore(torch.from_numpy(grey).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    else:
        Image.fromarray(grey).save(tmp_path / "grey.png")
        tool.restore_file(tmp_path / "grey.png", tmp_path / "out.png")
        made = np.asarray(Image.open(tmp_path / "out.png"))
    assert made.shape == (40, 48, 3)
    assert (made == made[..., :1]).all()
    coloured = grey.copy()
    coloured[0, 0, 0] ^= 8
    tinted = tool.restore(coloured)
    assert (tinted != tinted[..., :1]).any()
