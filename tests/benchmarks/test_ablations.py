"""The ablations are recipes that load; a run is trained once, gone on with, and read into the table."""

from __future__ import annotations

import json
import sys

import pytest

import ablations
from mambairv2.training.recipe import load_recipe
from stand_in import picture

TINY = {"depths": [1], "num_heads": [2], "embed_dim": 8}
SOME = {"window attention only": {"attentive_scan": False}, ablations.WHOLE: {}}


def test_recipes_differ_where_they_say(tmp_path):
    loaded = {}
    for name, change in ablations.RUNS.items():
        path = tmp_path / "one.toml"
        path.write_text(ablations.recipe(change, 1, 40))
        loaded[name] = load_recipe(path)
        config = loaded[name].model.config()
        assert all(getattr(config, key) == value for key, value in change.items())
        assert loaded[name].seed == 1
    whole = loaded[ablations.WHOLE]
    assert whole.model.config().depths == (3, 3)
    assert len({one.model.config() for one in loaded.values()}) == len(loaded) == 14
    assert all((one.data, one.train, one.keep) == (whole.data, whole.train, whole.keep) for one in loaded.values())


@pytest.fixture
def places(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    picture(80, 80, 3).write_to_file(str(tmp_path / "photos" / "a.png"))
    for name in ablations.SETS:
        (tmp_path / "sets" / name).mkdir(parents=True)
        picture(36, 36, 3).write_to_file(str(tmp_path / "sets" / name / "a.png"))
    monkeypatch.setattr(ablations, "RUNS", SOME)
    small = ablations.recipe
    monkeypatch.setattr(ablations, "recipe", lambda *given: small(*given, small=TINY))
    return tmp_path


def run(places, monkeypatch, *arguments):
    data = ["--data", places / "photos", "--validation", places / "sets", "--runs", places / "runs"]
    words = ["ablations.py", *data, "--iterations", 3, *arguments, "-o", places / "out.json"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    ablations.main()
    return json.loads((places / "out.json").read_text())


def test_what_is_finished_is_not_trained_again(places, monkeypatch, capsys):
    trained, train = [], ablations.train

    def counted(path, *rest):
        trained.append(path.stem)
        train(path, *rest)

    monkeypatch.setattr(ablations, "train", counted)
    first = run(places, monkeypatch, "--seeds", 1)
    assert [(one["name"], one["seed"]) for one in first] == [(name, 0) for name in SOME]
    assert set(first[0]["psnr"]) == {"Set5", "Set14"}
    assert first[0]["loss"]
    (places / "runs" / "01-0-3" / "log.jsonl").unlink()  # as if it had been killed before its validation
    assert run(places, monkeypatch, "--seeds", 1) == first  # the JSON has it
    (places / "out.json").unlink()
    assert run(places, monkeypatch, "--seeds", 1, "--read") == first[:1]
    (places / "out.json").unlink()
    with pytest.raises(SystemExit, match="no finished runs"):
        run(places, monkeypatch, "--seeds", 1, "--read", "network")
    assert trained == ["00-0-3", "01-0-3"]
    assert "| window attention only | " in capsys.readouterr().out


def test_the_table_has_spread_and_differences_of_the_same_seed():
    def one(name, seed, psnr):
        return {"name": name, "seed": seed, "psnr": {"Set5": psnr, "Set14": psnr - 4}}

    results = [one("T = 16", 0, 35.0), one(ablations.WHOLE, 0, 35.2)]
    results += [one("T = 16", 1, 35.1), one(ablations.WHOLE, 1, 35.3)]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ablations.markdown(results).splitlines()[2:]]
    assert rows[0][:2] == [ablations.WHOLE, "35.250 ± 0.071"]
    assert rows[0][-1] == "32.97 / 39.24"
    assert rows[1] == ["T = 16", "35.050 ± 0.071", "31.050 ± 0.071", "-0.200 ± 0.000", "2", "–"]
