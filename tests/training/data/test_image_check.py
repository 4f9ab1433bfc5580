import numpy as np
import pytest
import pyvips
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.images.pixels import to_channels
from mambairv2.training.data.image_check import check_images, thumbnail
from stand_in import pixels as wave


def picture(seed, height=150, width=180):
    """Large random patches, unlike those of any other seed."""
    blocks = np.random.default_rng(seed).integers(20, 236, (5, 6, 3)).astype(np.uint8)
    image = blocks.repeat(height // 5, 0).repeat(width // 6, 1)
    return image // 2 + wave(*image.shape, seed=seed) // 2


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).write_to_file(str(path), **options)


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        write(tmp_path / "train" / f"{number}.png", picture(number))
    write(tmp_path / "test" / "HR" / "a.png", picture(100))
    return tmp_path / "train"


def found(folder, *rest, **options):
    return [(fault.kind, fault.file.name) for fault in check_images(folder, *rest, **options)[1]]


def test_a_clean_folder_has_no_faults(folder):
    assert check_images(folder, folder.parent / "test") == (4, [])


def test_broken_and_small_images_are_told(folder):
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image")
    write(folder / "z.png", picture(9, 120, 180))
    assert found(folder) == [("broken", "cut.png"), ("broken", "text.jpg"), ("too small", "z.png")]
    assert found(folder, patch=60) == [("broken", "cut.png"), ("broken", "text.jpg")]
    reasons = [fault.reason for fault in check_images(folder)[1]]
    assert reasons[1].startswith("is not an image")
    assert not reasons[0].startswith(str(folder))
    assert "180x120, a patch takes 128x128" in reasons[2]


def test_the_same_pixels_in_another_file(folder):
    write(folder / "more" / "copy.webp", picture(2), lossless=True)
    (fault,) = check_images(folder)[1]
    assert (fault.kind, fault.file) == ("duplicate", folder / "more" / "copy.webp")
    assert fault.reason == f"same pixels as {folder / '2.png'}"


@pytest.mark.parametrize("turn", range(8))
def test_a_copy_turned_and_encoded_again(folder, turn):
    image = picture(2)
    write(folder / "copy.jpg", np.rot90(image if turn < 4 else image[:, ::-1], turn % 4), Q=60)
    (fault,) = check_images(folder)[1]
    assert (fault.kind, fault.file.name) == ("duplicate", "copy.jpg")
    assert f"like {folder / '2.png'}" in fault.reason


def test_an_enlarged_copy_and_a_grey_one(folder):
    pyvips.Image.new_from_array(picture(1)).resize(1.7).write_to_file(str(folder / "large.png"))
    write(folder / "grey.png", to_channels(picture(3), 1))
    assert found(folder) == [("duplicate", "grey.png"), ("duplicate", "large.png")]


def test_an_image_of_the_test_set(folder):
    write(folder / "mine.jpg", picture(100)[:, ::-1], Q=80)
    write(folder / "same.png", picture(100))
    leaked = found(folder, folder.parent / "test")
    assert [pair for pair in leaked if pair[0] == "leaked"] == [("leaked", "mine.jpg"), ("leaked", "same.png")]


def test_smooth_images_are_not_taken_for_each_other(tmp_path):
    for number, slope in enumerate(((1, 0), (0, 1), (1, 1), (-1, 1))):
        y, x = np.mgrid[:150, :150]
        sky = 180 + (slope[0] * x + slope[1] * y) / 15
        write(tmp_path / f"{number}.png", np.stack([sky, sky, sky + 20 * number], 2).astype(np.uint8))
    write(tmp_path / "flat.png", np.full((150, 150, 3), 190, np.uint8))
    write(tmp_path / "flatter.png", np.full((150, 150, 3), 191, np.uint8))
    assert not [pair for pair in found(tmp_path) if pair[1] > "f"]


def test_a_thumbnail_by_hand():
    small = thumbnail(np.repeat(np.arange(64, dtype=np.uint8)[:, None, None], 40, 1))
    np.testing.assert_allclose(small, np.repeat(np.arange(0.5, 64, 2)[:, None], 32, 1), rtol=1e-5)
    assert thumbnail(np.full((3, 5, 3), 7, np.uint8)) == pytest.approx(np.full((32, 32), 7), rel=1e-5)


def test_the_command(folder):
    arguments = ["data", "check", str(folder), "--against", str(folder.parent / "test")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "4 images, no faults" in result.output
    write(folder.parent / "one" / "a.png", picture(100))
    assert "1 image, no faults" in CliRunner().invoke(app, ["data", "check", str(folder.parent / "one")]).output
    write(folder / "same.png", picture(100))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "leaked" in result.output
    assert CliRunner().invoke(app, ["data", "check", str(folder / "nowhere")]).exit_code == 2
