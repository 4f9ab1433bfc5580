"""Steps that are not finite, full disks and damaged checkpoints do not end a run."""

import math

import pytest
import torch
from tiny_runs import log, losses, tiny, weights

from mambairv2.training import checkpoint
from mambairv2.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from mambairv2.training.data.patches import Patches
from mambairv2.training.loop import train


def test_bad_batches_are_skipped_and_counted(options, monkeypatch):
    usual = Patches.__getitem__

    def sometimes_nan(self, key):
        source, target = usual(self, key)
        return (source * math.nan if key[0] in (1, 2) and key[1] == 0 else source), target

    monkeypatch.setattr(Patches, "__getitem__", sometimes_nan)
    train(tiny(6), options())
    assert [line.get("skipped", 0) for line in log(options().run)] == [0, 1, 2, 2, 2, 2]
    assert all(torch.isfinite(tensor).all() for tensor in weights(options().run).values())


def test_many_bad_batches_roll_back_and_then_give_up(options, monkeypatch):
    usual = Patches.__getitem__
    recipe = tiny(8, nan_patience=2)

    def nan_at_first(self, key):
        source, target = usual(self, key)
        return (source * math.nan if key[0] in (4, 5, 6) and self.seed[1] < bad_until else source), target

    monkeypatch.setattr(Patches, "__getitem__", nan_at_first)
    bad_until = 2
    assert train(recipe, options())
    assert load_checkpoint(options().run)["attempt"] == 2
    assert [at for at, _ in losses(options().run)] == list(range(1, 9))
    bad_until = 99
    with pytest.raises(RuntimeError, match="after 3 roll-backs"):
        train(recipe, options("hopeless"))
    assert load_checkpoint(options("hopeless").run)["iteration"] == 4


def test_a_full_disk_loses_nothing(options, monkeypatch, capsys):
    recipe = tiny(6)
    usual = checkpoint.write_whole

    def full_at_four(path, content):
        if "000000004" in path.name:
            raise OSError(28, "No space left on device")
        usual(path, content)

    monkeypatch.setattr(checkpoint, "write_whole", full_at_four)
    assert train(recipe, options())
    assert "iteration 4: no checkpoint written, the earlier one stays" in capsys.readouterr().err
    assert load_checkpoint(options().run)["iteration"] == 6


def test_checkpoints_are_whole_rolled_and_survive_a_damaged_one(tmp_path):
    for iteration in range(5):
        save_checkpoint(tmp_path, iteration, {"iteration": iteration}, keep=2)
    assert [path.name[-4:] for path in checkpoints(tmp_path)] == ["4.pt", "3.pt"]
    checkpoints(tmp_path)[0].write_bytes(b"cut")
    assert load_checkpoint(tmp_path) == {"iteration": 3}
    checkpoints(tmp_path)[1].write_bytes(b"")
    with pytest.raises(ValueError, match="--fresh"):
        load_checkpoint(tmp_path)
