"""Which test sets and protocols a plan covers."""

from pathlib import Path

import numpy as np
import pytest
import pyvips

from mambairv2.evaluation.evaluate import evaluate
from mambairv2.evaluation.plan import Plan
from mambairv2.evaluation.protocol import Protocol


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 36, 3), np.uint8)
    pyvips.Image.new_from_array(pixels).write_to_file(str(path))


def folders(data, *sets):
    return [folder.name for folder in Plan(data, "sr", 2, sets).folders()]


def test_the_papers_sets_come_first(tmp_path):
    for name in ("Set14", "Mine", "Set5"):
        image(tmp_path / name / "HR" / "a.png")
    assert folders(tmp_path) == ["Set5", "Set14"]
    assert folders(tmp_path, "Mine", "Set5") == ["Mine", "Set5"]


def test_a_test_set_may_be_given_itself(tmp_path):
    image(tmp_path / "plain" / "a.png")
    image(tmp_path / "pairs" / "HR" / "a.png")
    image(tmp_path / "pairs" / "LR_bicubic" / "X2" / "ax2.png")
    assert folders(tmp_path / "plain") == ["plain"]
    assert folders(tmp_path / "pairs") == ["pairs"]


def test_other_folders_of_sets_are_taken_apart(tmp_path):
    """Low-resolution inputs are not taken for originals, and each folder is a set."""
    image(tmp_path / "mine" / "HR" / "a.png")
    image(tmp_path / "mine" / "LR_bicubic" / "X2" / "ax2.png")
    image(tmp_path / "yours" / "b.png")
    (tmp_path / "notes").mkdir()
    assert folders(tmp_path) == ["mine", "yours"]


def test_the_working_directory_has_a_name(tmp_path, monkeypatch):
    image(tmp_path / "mine" / "a.png")
    monkeypatch.chdir(tmp_path / "mine")
    (result,) = evaluate(None, Plan(Path(), "sr", 2))
    assert result.name == "mine"


def test_missing_sets_are_told(tmp_path):
    image(tmp_path / "mine" / "a.png")
    with pytest.raises(FileNotFoundError, match=r"no test set Three in .*; it has mine$"):
        folders(tmp_path, "Three")
    with pytest.raises(FileNotFoundError, match=r"no test set Three in .*; that folder does not exist$"):
        folders(tmp_path / "nowhere", "Three")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        evaluate(None, Plan(tmp_path / "nowhere", "sr", 2))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images in .*empty"):
        evaluate(None, Plan(tmp_path / "empty", "sr", 2))


def test_published_figures_stand_beside_whole_sets_alone(tmp_path):
    image(tmp_path / "Set5" / "a.png")
    assert evaluate(None, Plan(tmp_path, "sr", 2))[0].published
    assert not evaluate(None, Plan(tmp_path, "sr", 2, limit=1))[0].published


def test_levels_are_those_of_the_paper(tmp_path):
    assert Plan(tmp_path, "sr", 3).protocols() == [Protocol("sr", 3)]
    assert [protocol.level for protocol in Plan(tmp_path, "denoise").protocols()] == [15, 25, 50]
    assert Plan(tmp_path, "jpeg", levels=[20], grey=True).protocols() == [Protocol("jpeg", 1, 20, 1)]
