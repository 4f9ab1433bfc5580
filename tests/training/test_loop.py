import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch

from mambairv2.network.model import MambaIRv2
from mambairv2.training import checkpoint
from mambairv2.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from mambairv2.training.data.patches import Patches
from mambairv2.training.loop import train
from mambairv2.training.loss import loss_of
from mambairv2.training.recipe import Recipe, TrainPart, load_recipe
from mambairv2.training.schedule import learning_rate
from mambairv2.training.setup import Options, build_network
from mambairv2.weights.load import load_model
from mambairv2.weights.save import save_model

TINY = {
    "embed_dim": 12,
    "d_state": 2,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "num_tokens": 4,
    "inner_rank": 3,
}
TINY |= {"window_size": 8}


def tiny(iterations=6, model=None, data=None, keep=None, **changes):
    return Recipe.model_validate(
        {
            "seed": 5,
            "model": {"overrides": TINY, **(model or {})},
            "data": {"patch": 8, **(data or {})},
            "train": {"iterations": iterations, "total_batch": 4, "lr": 1e-3, **changes},
            "keep": {"log_every": 1, "checkpoint_every": 2, "validate_every": 0, **(keep or {})},
        }
    )


@pytest.fixture(autouse=True)
def one_thread():
    usual = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only lose time by more
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    y, x = np.mgrid[:72, :80][..., None]
    for number in range(3):
        wave = np.sin(x / (3 + number) + np.arange(3)) * np.cos(y / 5)
        pyvips.Image.new_from_array(np.where(wave > 0.1, 220, 40).astype(np.uint8)).write_to_file(
            str(folder / f"{number}.png")
        )
    return folder


@pytest.fixture
def options(images, tmp_path):
    def make(name="run", **changes):
        return Options(tmp_path / name, (images,), accelerator="cpu", cache=images.parent / "cache", **changes)

    return make


def log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run):
    return [(line["iteration"], line["loss"]) for line in log(run) if "loss" in line]


def weights(run):
    content = load_checkpoint(run)
    return {**content["model"], **{f"ema {k}": v for k, v in content["ema"].items()}}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_a_run_learns_and_writes_what_it_should(options):
    assert train(tiny(60, lr=3e-3, keep={"checkpoint_every": 20}), options())
    run = options().run
    lines = losses(run)
    assert [at for at, _ in lines] == list(range(1, 61))
    assert np.mean([loss for _, loss in lines[-5:]]) < 0.6 * np.mean([loss for _, loss in lines[:5]])
    assert [path.name for path in checkpoints(run)] == ["checkpoint-000000060.pt", "checkpoint-000000040.pt"]
    averaged = load_model(run / "ema.safetensors")
    assert_same(dict(averaged.named_parameters()), dict(load_checkpoint(run)["ema"]))


def test_stopping_and_resuming_changes_no_bit(options):
    whole, parts = options("whole"), options("parts")
    train(tiny(8), whole)
    for _ in range(20):
        if train(
            tiny(8, keep={"log_every": 1, "checkpoint_every": 0, "validate_every": 0}),
            options("parts", max_minutes=0),
        ):
            break
    assert losses(parts.run) == losses(whole.run)
    assert_same(weights(parts.run), weights(whole.run))


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
import torch
torch.set_num_threads(1)
from mambairv2.training.loop import train
from mambairv2.training.recipe import Recipe
from mambairv2.training.setup import Options
train(Recipe.model_validate_json({recipe!r}), Options(**{options!r}))
"""


def start(recipe, options):
    plain = {"run": options.run, "data": options.data, "accelerator": "cpu", "cache": options.cache}
    plain |= {"devices": options.devices}
    source = Path(checkpoint.__file__).parents[1]
    script = SCRIPT.format(paths=[str(source)], recipe=recipe.model_dump_json(), options=plain)
    script = "from pathlib import PosixPath\n" + script
    return [sys.executable, "-c", script]


def wait_for(run, iteration, process):
    for _ in range(600):
        if (run / "log.jsonl").exists() and (run / "log.jsonl").read_text().count("\n") >= iteration:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("the run did not get that far")


@pytest.mark.slow
def test_kill_minus_nine_and_resume_changes_no_bit(options):
    whole, killed = options("whole"), options("killed")
    recipe = tiny(60, keep={"checkpoint_every": 7})
    subprocess.run(start(recipe, whole), check=True, capture_output=True)
    for iteration in (10, 30):
        process = subprocess.Popen(start(recipe, killed), stderr=subprocess.PIPE)
        wait_for(killed.run, iteration, process)
        process.kill()
        process.communicate()
        assert len(losses(killed.run)) < 60
    subprocess.run(start(recipe, killed), check=True, capture_output=True)
    assert losses(killed.run) == losses(whole.run)
    assert_same(weights(killed.run), weights(whole.run))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_cleanly(options, number):
    recipe = tiny(100000, keep={"checkpoint_every": 0})
    process = subprocess.Popen(start(recipe, options()), stderr=subprocess.PIPE, text=True)
    wait_for(options().run, 3, process)
    process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 0, said
    last = losses(options().run)[-1][0]
    assert f"stopped at iteration {last}" in said
    assert load_checkpoint(options().run)["iteration"] == last


def assert_close(run, expected):
    for key, tensor in weights(expected).items():
        torch.testing.assert_close(weights(run)[key], tensor, atol=1e-6, rtol=0)


def test_accumulation_gives_the_same_weights(options):
    for name, micro in (("whole", 0), ("pieces", 1), ("uneven", 3)):
        train(tiny(3, micro_batch=micro), options(name))
    for name in ("pieces", "uneven"):
        assert_close(options(name).run, options("whole").run)


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(options, tmp_path):
    alone, both = options("alone"), options("both", devices=2)
    recipe = tiny(3, total_batch=6, micro_batch=2)  # three patches each, in pieces of two and one
    train(recipe.model_copy(update={"train": recipe.train.model_copy(update={"micro_batch": 0})}), alone)
    script = tmp_path / "run.py"
    script.write_text(start(recipe, both)[-1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run([*torchrun, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "2 × cpu" in ended.stderr
    assert_close(both.run, alone.run)
    for (at, loss), (other, expected) in zip(losses(both.run), losses(alone.run), strict=True):
        assert at == other
        assert loss == pytest.approx(expected, abs=1e-6)


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


def test_another_model_in_the_same_run_is_refused_and_fresh_starts_again(options):
    train(tiny(2), options())
    with pytest.raises(ValueError, match="another model or seed"):
        train(tiny(2, model={"overrides": {**TINY, "embed_dim": 16}}), options())
    train(tiny(3), options(fresh=True))
    assert [at for at, _ in losses(options().run)] == [1, 2, 3]


def test_dry_run_estimates_and_writes_nothing(options, capsys):
    assert not train(tiny(2), options(dry_run=True))
    assert "s a step" in capsys.readouterr().err
    assert not options().run.exists()


def test_what_cannot_run_is_told_before_it_starts(images, options, monkeypatch):
    with pytest.raises(ValueError, match="4 cannot be spread over 5"):
        train(tiny(2), options(devices=5))
    with pytest.raises(ValueError, match="4 cannot be spread over 5"):
        train(tiny(2, total_batch=8, stages=[{"start": 1, "patch": 8, "total_batch": 4}]), options(devices=5))
    recipe = tiny(2, keep={"validate_every": 2, "validation_sets": ["Set5"]})
    with pytest.raises(FileNotFoundError, match=f"no test set Set5 in .* \\(.*{images.name}"):
        train(recipe, options(dry_run=True, validation=images.parent))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started for --devices 1 --nodes 1"):
        train(tiny(2), options())


def test_a_missing_extra_is_told(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from mambairv2.cli.main import app

    for module in ("loop", "setup", "state", "step"):
        monkeypatch.delitem(sys.modules, f"mambairv2.training.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    (tmp_path / "mine.toml").write_text("[train]\niterations = 1")
    result = CliRunner().invoke(app, ["train", str(tmp_path / "mine.toml")])
    assert result.exit_code == 1
    assert result.stderr == "error: lightning_fabric is not installed; `pip install 'mambairv2[train]'`\n"


def test_activation_checkpointing_changes_memory_not_weights(options):
    train(tiny(2), options("plain"))
    train(tiny(2, checkpointing=True), options("less"))
    for key, tensor in weights(options("plain").run).items():
        torch.testing.assert_close(weights(options("less").run)[key], tensor, atol=1e-6, rtol=0)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_runs(options, precision):
    train(tiny(3, precision=precision), options())
    assert all(math.isfinite(loss) for _, loss in losses(options().run))


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


def test_warm_start_begins_above_bicubic_and_a_new_head_is_solved_for(images, options, tmp_path):
    from mambairv2.evaluation.evaluate import evaluate_set, mean, whole_images
    from mambairv2.evaluation.protocol import Protocol
    from mambairv2.training.data.image_cache import open_cache

    model = {"warm_start": True, "overrides": {**TINY, "embed_dim": 32}}
    for scale in (2, 3):
        recipe = tiny(2, model={**model, "upscale": scale}, data={"patch": 16})
        patches = Patches(open_cache([images], scale, 3, cache_dir=tmp_path), recipe.data, (0,))
        network = build_network(recipe, patches)
        score = mean(evaluate_set(whole_images(network.eval()), images, Protocol("sr", scale)))
        assert score.psnr > score.base_psnr + 0.3
        if scale == 2:
            save_model(network, tmp_path / "x2.safetensors")
            model["start_from"] = str(tmp_path / "x2.safetensors")
    recipe = tiny(2, model={**model, "upscale": 1}, data={"task": "denoise", "sigma": [25, 25], "patch": 16})
    patches = Patches(open_cache([images], 1, 3, cache_dir=tmp_path), recipe.data, (0,))
    network = build_network(recipe, patches)
    assert isinstance(network, MambaIRv2)
    source, target = (torch.stack(t)[..., 3:-3, 3:-3] for t in zip(*(patches[0, i, 16] for i in range(8)), strict=True))
    with torch.no_grad():
        found = network.eval()(torch.stack([patches[0, i, 16][0] for i in range(8)]))[..., 3:-3, 3:-3]
    assert (found - target).square().mean() < 0.75 * (source - target).square().mean()  # inside: borders are learnt
    with pytest.raises(ValueError, match="pixelshuffledirect"):
        build_network(tiny(2, model={"variant": "small", "warm_start": True, "overrides": {}}), patches)
    with pytest.raises(ValueError, match="does not fit"):
        build_network(tiny(2, model={**model, "overrides": TINY}), patches)


def test_learning_rates():
    steps = TrainPart(iterations=100, lr=2e-4, milestones=[50, 80], warmup=10)
    assert [learning_rate(steps, at) for at in (0, 9, 10, 50, 80)] == pytest.approx([2e-5, 2e-4, 2e-4, 1e-4, 5e-5])
    curve = TrainPart(iterations=100, lr=1e-3, schedule="cosine", warmup=20, final_lr=1e-5)
    assert [learning_rate(curve, at) for at in (20, 60, 100)] == pytest.approx([1e-3, 5.05e-4, 1e-5])


def test_losses_by_hand():
    output, target = torch.tensor([3.0, 0.0]), torch.zeros(2)
    assert loss_of(TrainPart(iterations=1), output, target) == pytest.approx(1.5)
    smooth = TrainPart(iterations=1, loss="charbonnier", charbonnier_eps=4)
    assert loss_of(smooth, output, target) == pytest.approx((5 + 4) / 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\niterations = 5\nlearning_rate = 1", "train.learning_rate: no such key"),
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
