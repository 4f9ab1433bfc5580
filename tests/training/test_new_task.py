"""A task that is added by one entry: trained for ten iterations, validated, measured, restored with, carded."""

import json

import numpy as np
import pytest
import pyvips
from tiny_runs import log, tiny
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.evaluation.protocol import Protocol, cases
from mambairv2.tasks import TASKS, Task
from mambairv2.training.loop import train
from mambairv2.training.recipe import Recipe
from mambairv2.weights.model_card import Card, read_card


@pytest.fixture
def deblur(monkeypatch):
    entry = Task(
        "removal of blur",
        "Sharpen",
        (1,),
        levels=("near", "far"),
        steps=lambda level, scale: (
            {"kind": "blur", "shapes": ("focus",), "radius": (1, 1) if level == "near" else (2, 2)},
        ),
        training=({"kind": "blur", "shapes": ("focus", "motion")},),
        baseline="blurred",
        sets=("Photos",),
    )
    monkeypatch.setitem(TASKS, "deblur", entry)
    return entry


def test_a_task_of_one_entry_is_trained_validated_measured_and_used(deblur, images, options, tmp_path):
    keep = {"validate_every": 10, "validation_sets": [images.name]}
    recipe = tiny(10, model={"upscale": 1}, data={"task": "deblur"}, keep=keep)
    assert recipe.validation_level() == "far"
    assert train(recipe, options(validation=images.parent))
    figures = [line[f"{images.name}/psnr"] for line in log(options().run) if f"{images.name}/psnr" in line]
    assert len(figures) == 2

    report = tmp_path / "out.json"
    data = ["--data", str(images.parent), "--sets", images.name]
    weights = ["--weights", str(options().run)]
    result = CliRunner().invoke(app, ["evaluate", *data, *weights, "--json", str(report)])
    assert result.exit_code == 0, result.output
    assert "blurred" in result.stdout
    measured = {entry["protocol"]: entry["mean"] for entry in json.loads(report.read_text())["results"]}
    assert list(measured) == ["deblur near", "deblur far"]
    assert measured["deblur far"]["psnr"] == pytest.approx(figures[-1], abs=1e-3)
    assert measured["deblur far"]["base_psnr"] < measured["deblur near"]["base_psnr"]

    for arguments, says in ((["--level", "middle"], "deblur has the levels near, far"), (["--scale", "2"], "deblur")):
        refused = CliRunner().invoke(app, ["evaluate", *data, "--task", "deblur", *arguments])
        assert refused.exit_code == 1
        assert says in refused.stderr


def test_its_card_is_read_and_other_tasks_are_refused(deblur, tmp_path):
    path = tmp_path / "deblur.json"
    path.write_text(Card("deblur", "deblur", 1, 10, 10, 0.1, ()).to_json())
    assert read_card(path).task == "deblur"
    path.write_text(Card("fog", "fog", 1, 10, 10, 0.1, ()).to_json())
    with pytest.raises(ValueError, match="task that is unknown"):
        read_card(path)


@pytest.mark.parametrize("wrong", [{"task": "fog"}, {"task": "photo"}, {"task": "deblur"}])
def test_a_recipe_for_no_such_task_or_scale_is_refused(deblur, wrong):
    """The network of the recipe enlarges by 3."""
    with pytest.raises(ValueError, match=r"no task 'fog'|does not fit upscale 3"):
        Recipe.model_validate({"model": {"upscale": 3}, "data": wrong, "train": {"iterations": 1}})


def test_test_images_are_damaged_by_their_names_alone(deblur, tmp_path):
    generator = np.random.default_rng(0)
    for folder, names in (("all", "abc"), ("one", "b")):
        (tmp_path / folder).mkdir()
        for name in names:
            pixels = generator.integers(0, 256, (45, 50, 3), np.uint8) if folder == "all" else None
            path = tmp_path / "all" / f"{name}.png"
            if pixels is not None:
                pyvips.Image.new_from_array(pixels).write_to_file(str(path))
            else:
                (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    for level in ("weak", "strong"):
        several = {case.name: case for case in cases(tmp_path / "all", Protocol("photo", 2, level))}
        (alone,) = cases(tmp_path / "one", Protocol("photo", 2, level))
        np.testing.assert_array_equal(alone.input, several["b"].input)
        assert alone.target.shape == (44, 50, 3)
        assert alone.input.shape == (22, 25, 3)
