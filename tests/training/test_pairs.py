"""Training on ready-made inputs: validated on ready-made inputs too, and pairs that do not fit are told."""

from dataclasses import replace

import numpy as np
import pytest
import pyvips
from tiny_runs import TINY, log, tiny
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.images.resize import imresize
from mambairv2.training.loop import train
from mambairv2.weights.read_config import read_metadata


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyvips.Image.new_from_array(pixels).write_to_file(str(path))


def blurred(pixels):
    return pixels // 2 + np.roll(pixels, 1, 1) // 2


def picture(seed, height=40, width=48, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


@pytest.fixture
def pairs(tmp_path):
    """Folders of targets and inputs at x1, for training and for a test set named Mine."""
    for number in range(3):
        save(tmp_path / "sharp" / f"{number}.png", picture(number))
        save(tmp_path / "soft" / f"{number}.jpg", blurred(picture(number)))
        save(tmp_path / "sharp-tests" / "Mine" / f"{number}.png", picture(9 + number))
        save(tmp_path / "soft-tests" / "Mine" / f"{number}.png", blurred(picture(9 + number)))
    return tmp_path


def recipe(folder, scale=1, **changes):
    data = {"folders": [str(folder / "sharp")], "input_folders": [str(folder / "soft")]}
    keep = {"validate_every": 2, "validation_folder": str(folder / "sharp-tests"), "validation_sets": ["Mine"]}
    keep["validation_inputs"] = str(folder / "soft-tests")
    model = {"overrides": TINY, "upscale": scale, **changes.pop("model", {})}
    return tiny(2, model=model, data=data | changes.pop("data", {}), keep=keep | changes.pop("keep", {}))


def ours(options, **changes):
    return replace(options(**changes), data=())


def test_pairs_are_validated_on_pairs(pairs, options, capsys):
    """Not on noise, which is what the recipe's task would make of the targets."""
    assert train(recipe(pairs), ours(options))
    shown = [line for line in capsys.readouterr().err.splitlines() if "Mine" in line]
    error = [np.square(picture(9 + n).astype(float) - blurred(picture(9 + n))).mean() for n in range(3)]
    expected = np.mean([10 * np.log10(255**2 / e) for e in error])
    assert all(f"input {expected:.3f} dB" in line for line in shown)
    assert len(shown) == 2
    assert len([line for line in log(options().run) if "Mine/psnr" in line]) == 2
    assert read_metadata(options().run)["task"] == "pairs"


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pairs_of_smaller_inputs(pairs, options, scale, capsys):
    for kind, first in (("", 0), ("-tests/Mine", 9)):
        for number in range(3):
            small = imresize(picture(first + number)[: 40 // scale * scale, : 48 // scale * scale], 1 / scale)
            save(pairs / f"small{kind}" / f"{number}x{scale}.png", small)
    keep = {"validation_inputs": str(pairs / "small-tests")}
    data = {"input_folders": [str(pairs / "small")], "patch": 8}
    assert train(recipe(pairs, scale, data=data, keep=keep), ours(options))
    assert "input" in capsys.readouterr().err
    assert read_metadata(options().run)["task"] == "sr"


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_are_turned_into_what_the_network_takes(pairs, options, channels):
    save(pairs / "soft-tests" / "Mine" / "0.png", blurred(picture(9))[..., :1])
    save(pairs / "soft" / "0.jpg", blurred(picture(0))[..., :1])
    assert train(recipe(pairs, model={"in_channels": channels}), ours(options))


def test_paired_training_without_paired_validation_is_refused_before_images_are_read(pairs, options):
    (pairs / "sharp" / "0.png").write_bytes(b"not read")
    for changes in ({}, {"validation_folder": "nowhere"}):
        with pytest.raises(ValueError, match=r"keep\.validation_inputs or --validation-inputs, .* validate_every = 0"):
            train(recipe(pairs, keep={"validation_inputs": "", **changes}), ours(options, dry_run=True))
    assert not (options().cache / "nothing").exists()


def test_validation_may_be_left_out(pairs, options):
    assert train(recipe(pairs, keep={"validate_every": 0, "validation_inputs": ""}), ours(options))


def test_targets_without_an_input_are_counted(pairs, options):
    for number in (1, 2):
        (pairs / "soft-tests" / "Mine" / f"{number}.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"no input image for .*1\.png in .*soft-tests/Mine, nor for 1 others;"):
        train(recipe(pairs), ours(options, dry_run=True))
    (pairs / "soft" / "2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"no input image for .*2\.png in .*soft; an input is named as"):
        train(recipe(pairs, keep={"validate_every": 0}), ours(options, dry_run=True))


@pytest.mark.parametrize("size", [(40, 47), (20, 24), (48, 40)])
def test_inputs_of_another_size_are_told(pairs, options, size, capsys):
    save(pairs / "soft-tests" / "Mine" / "1.png", picture(0, *size))
    shown = rf"soft-tests/Mine/1\.png: {size[1]}x{size[0]}, expected 48x40, the size of .*sharp-tests/Mine/1\.png"
    with pytest.raises(ValueError, match=shown):
        train(recipe(pairs), ours(options, dry_run=True))
    save(pairs / "soft" / "1.jpg", picture(0, *size))
    train(recipe(pairs, keep={"validate_every": 0}), ours(options, dry_run=True))
    assert f"left out: {pairs}/soft/1.jpg: {size[1]}x{size[0]}, expected 48x40" in capsys.readouterr().err
    for number in (0, 2):
        save(pairs / "soft" / f"{number}.jpg", picture(0, *size))
    with pytest.raises(ValueError, match=r"^none of the 3 images can be used, the first since .*0\.jpg: [^\n]*$"):
        train(recipe(pairs, keep={"validate_every": 0}), ours(options, dry_run=True))


def test_unpaired_training_may_be_validated_on_pairs(pairs, options, capsys):
    data = {"input_folders": [], "task": "denoise"}
    assert train(recipe(pairs, data=data), ours(options))
    error = [np.square(picture(9 + n).astype(float) - blurred(picture(9 + n))).mean() for n in range(3)]
    assert f"input {np.mean([10 * np.log10(255**2 / e) for e in error]):.3f} dB" in capsys.readouterr().err


def test_options_give_pairs_too(pairs, tmp_path):
    text = (
        "[model]\nupscale = 1\noverrides = {overrides}\n[data]\ntask = 'denoise'\npatch = 8\n[train]\niterations = 1\n"
    )
    sizes = ", ".join(f"{key} = {value}" for key, value in TINY.items())
    (tmp_path / "mine.toml").write_text(
        text.replace("{overrides}", f"{{ {sizes} }}") + "[keep]\nvalidation_sets = ['Mine']"
    )
    start = ["train", str(tmp_path / "mine.toml"), "--runs", str(tmp_path / "runs"), "--data", str(pairs / "sharp")]
    start += ["--validation", str(pairs / "sharp-tests")]
    refused = CliRunner().invoke(app, [*start, "--inputs", str(pairs / "soft")])
    assert refused.exit_code == 1
    assert "--validation-inputs" in refused.stderr
    more = ["--validation-inputs", str(pairs / "soft-tests"), "--inputs", str(pairs / "soft")]
    two = CliRunner().invoke(app, [*start, *more, "--inputs", str(pairs / "soft")])
    assert two.stderr.endswith("1 folders of targets need as many of inputs, got 2; see --inputs\n")
    done = CliRunner().invoke(app, [*start, *more])
    assert done.exit_code == 0, done.stderr
    assert read_metadata(tmp_path / "runs" / "mine")["task"] == "pairs"


def test_other_targets_need_other_inputs(pairs, options):
    with pytest.raises(ValueError, match=r"--data replaces .* give --inputs for each"):
        train(recipe(pairs), replace(options(dry_run=True), data=(pairs / "sharp",)))
