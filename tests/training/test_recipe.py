"""Mistakes in a recipe are told with the file and the key."""

from dataclasses import fields
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mambairv2.network.config import VARIANTS, MambaIRv2Config
from mambairv2.training.recipe import DataPart, KeepPart, Recipe, Stage, TrainPart, load_recipe
from mambairv2.training.settings.teacher import Phase, TeacherPart


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
        ("[train]\niterations = 5\n[model]\noverrides = {embed = 3}", "model.overrides: unknown configuration field"),
        ("[train]\niterations = 5\n[model]\noverrides = {upscale = 3}", "overrides: upscale is a key of [model]"),
        (
            "[train]\niterations = 5\n[model]\noverrides = {attentive_scan = false, num_tokens = 3}",
            "num_tokens has no effect with attentive_scan=False",
        ),
        ("[train]\niterations = 5\n[[phases]]\nstart = 0\nfeature = 1", "feature: no such key; did you mean features?"),
        ("[train]\niterations = 5\n[teacher]\nweight = 'a'", "teacher.weight: no such key; did you mean weights?"),
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


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe[train]")
    with pytest.raises(ValueError, match=r"mine\.toml: not valid TOML"):
        load_recipe(tmp_path / "mine.toml")


OTHERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.dates(),
    st.lists(
        st.one_of(st.booleans(), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=2)), max_size=4
    ),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
"""Values of every type that a recipe can have in a place."""


def said_of(content):
    """What is said of a recipe that is refused, a line for each fault; nothing of one that is taken."""
    try:
        Recipe.model_validate(content)
    except ValidationError as error:
        return [(fault["loc"], fault["msg"]) for fault in error.errors()]
    return []


NEARLY = st.one_of(
    OTHERS,
    st.integers(-2, 70),
    st.integers(-2, 64).map(lambda sixteenths: sixteenths / 16),
    st.lists(st.integers(-1, 8), max_size=7),
    st.sampled_from(["gated", "conv", "", "pixelshuffle", "pixelshuffledirect", "nearest+conv", "1conv", "3conv"]),
    st.sampled_from(["image", "sorted", "C", "B", "delta", "y"]),
)
"""Those, and many of the right type that define no network."""


@given(st.sampled_from([field.name for field in fields(MambaIRv2Config)]), NEARLY, st.sampled_from(list(VARIANTS)))
@settings(max_examples=400, deadline=None)
def test_a_wrong_override_is_named_and_nothing_else_is_raised(name, value, variant):
    model = {"variant": variant, "overrides": {name: value}}
    for location, message in said_of({"train": {"iterations": 5}, "model": model}):
        assert location == ("model", "overrides")
        assert name in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("depths", 3, "a list of whole numbers"),
        ("num_heads", [4.0], "a list of whole numbers"),
        ("depths", [True], "a list of whole numbers"),
        ("embed_dim", "48", "a whole number"),
        ("d_state", True, "a whole number"),
        ("upsampler", 4, "is not one of"),
        ("mlp_ratio", [1], "a number"),
        ("temperature", date(2026, 1, 1), "a number"),
        ("attentive_scan", 0, "true or false"),
    ],
)
def test_the_type_that_is_wanted_is_told(name, value, wanted):
    ((_, message),) = said_of({"train": {"iterations": 5}, "model": {"overrides": {name: value}}})
    assert f"{name}={value!r} " in message
    assert wanted in message


TABLES = {"data": DataPart, "train": TrainPart, "teacher": TeacherPart, "keep": KeepPart}
PLACES = [
    *((table, name) for table, part in TABLES.items() for name in part.model_fields),
    *(("train.stages", name) for name in Stage.model_fields),
    *(("phases", name) for name in Phase.model_fields),
]


@given(st.sampled_from(PLACES), OTHERS)
@settings(max_examples=400, deadline=None)
def test_no_value_of_a_recipe_raises_anything_else(place, value):
    table, name = place
    content = {"train": {"iterations": 5}}
    if table in TABLES:
        content.setdefault(table, {})[name] = value
    elif table == "phases":
        content["phases"] = [{"start": 0, name: value}]
    else:
        content["train"]["stages"] = [{"start": 1, "patch": 8, "total_batch": 1, name: value}]
    for _, message in said_of(content):
        assert "\n" not in message
