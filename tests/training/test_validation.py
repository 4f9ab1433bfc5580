"""Validation during a run: due at its iterations, once each, also where a run is resumed."""

from tiny_runs import log, tiny

from mambairv2.training.loop import train


def test_validation_is_logged(images, options, tmp_path):
    recipe = tiny(2, keep={"validate_every": 2, "validation_sets": [images.name]})
    train(recipe, options(validation=images.parent))
    figures = [line[f"{images.name}/psnr"] for line in log(options().run) if f"{images.name}/psnr" in line]
    assert len(figures) == 2


def test_a_validation_that_a_stop_prevented_is_made_when_the_run_goes_on(images, options, tmp_path):
    recipe = tiny(3, keep={"validate_every": 1, "validation_sets": [images.name]})
    while not train(recipe, options(validation=images.parent, max_minutes=0)):
        pass
    key = f"{images.name}/psnr"
    assert [line["iteration"] for line in log(options().run) if key in line] == [0, 1, 2, 3]
    train(recipe, options("whole", validation=images.parent))
    figures = [[line[key] for line in log(options(run).run) if key in line] for run in ("run", "whole")]
    assert figures[0] == figures[1]
