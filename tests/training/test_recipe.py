"""Mistakes in a recipe are told with the file and the key."""

import pytest

from mambairv2.training.recipe import load_recipe


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\niterations = 5\nlearning_rate = 1", "train.learning_rate: no such key"),
        ("[train]\niterations = 5\n[data]\nfolder = ['a']", "data.folder: no such key; did you mean folders?"),
        ("[train]\niterations = 5\n[[train.stages]]\nbegin = 3", "train.stages.0.begin: no such key"),
        (
            "iteration = 5\n[train]\niterations = 5\nmilestone = [3]",
            "train.milestone: no such key; did you mean milestones?",
        ),
        ("[train]\niterations = 0", "train.iterations"),
        ("[train]\niterations = 5\n[model]\noverrides = {embed = 3}", "model: unknown configuration field 'embed'"),
        ("[train]\niterations = 5\n[data]\ntask = 'jpeg'", "'jpeg' does not fit upscale 2"),
        ("[train", "not valid TOML"),
        ("", "train"),
    ],
)
def test_a_wrong_recipe_names_the_file_and_the_key(tmp_path, text, says):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.toml") as caught:
        load_recipe(path)
    assert says in str(caught.value)
