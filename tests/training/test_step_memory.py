"""The memory of a step is foretold from small ones, and a step that does not fit is refused before it is tried."""

import pytest
from tiny_runs import tiny

from mambairv2.training.log import Reporter
from mambairv2.training.loop import train
from mambairv2.training.setup import memory
from mambairv2.training.setup.begin import setup
from mambairv2.training.setup.devices import make_fabric
from mambairv2.training.setup.images import open_patches


def state_of(recipe, options):
    fabric, precision = make_fabric(recipe, options)
    patches = open_patches(recipe, options, Reporter(options.run, 1, silent=True))
    return setup(fabric, precision, recipe, options.run, patches)


@pytest.mark.parametrize("changes", [{}, {"checkpointing": True}, {"precision": "bf16-mixed"}], ids=str)
@pytest.mark.parametrize(("patches", "patch"), [(4, 16), (1, 64), (6, 20)])
def test_a_large_step_takes_what_two_small_ones_foretell(options, changes, patches, patch):
    state = state_of(tiny(2, total_batch=patches, data={"patch": patch}, **changes), options())
    goal = state.recipe.goal(0)
    moments = 8 * sum(p.numel() for p in state.network.parameters())
    side = -(-patch // 8) * 8  # whole windows
    counted = memory.step_peak(state, goal, patches, side, side)
    foretold = memory.foretell(state, goal)(patches, patch) - moments
    assert foretold == pytest.approx(memory.BEYOND * counted, rel=0.1)


def test_checkpointing_is_foretold_to_take_less(options):
    needed = [
        memory.foretell(state, state.recipe.goal(0))(4, 64)
        for state in (state_of(tiny(2, checkpointing=each), options()) for each in (False, True))
    ]
    assert needed[1] < 0.8 * needed[0]


def limited(monkeypatch, mebibytes):
    """As if so much memory were free; returns the sizes of the steps that are taken."""
    taken = []
    usual = memory.step_peak

    def noted(state, goal, batch, height, width):
        taken.append(batch * height * width)
        return usual(state, goal, batch, height, width)

    monkeypatch.setattr(memory, "free_memory", lambda device: mebibytes * 2**20)
    monkeypatch.setattr(memory, "step_peak", noted)
    return taken


def test_a_step_that_does_not_fit_is_refused_in_a_line_with_what_would_fit(options, monkeypatch):
    taken = limited(monkeypatch, 16)
    with pytest.raises(MemoryError) as caught:
        train(tiny(2, total_batch=16, data={"patch": 32}), options(dry_run=True))
    assert max(taken) <= 4 * 8 * 8
    said = str(caught.value)
    assert said.startswith("16 patches of 32x32 at once need about ")
    assert "16 MiB are free; take --micro-batch " in said
    fitting = int(said.split("--micro-batch ")[1].split(" ")[0])
    assert 1 <= fitting < 16
    assert train(tiny(1, total_batch=16, micro_batch=fitting, data={"patch": 32}), options())
    with pytest.raises(MemoryError, match="at once need about"):
        train(tiny(2, total_batch=16, micro_batch=fitting + 1, data={"patch": 32}), options(dry_run=True))


@pytest.mark.parametrize("later", ["stage", "phase"])
def test_a_later_part_of_the_run_counts(options, monkeypatch, later, tmp_path):
    limited(monkeypatch, 16)
    changes = {"stages": [{"start": 1, "patch": 64, "total_batch": 16}]}
    if later == "phase":
        changes = {"phases": [{"start": 0}, {"start": 1, "lr": 1e-4}], "total_batch": 16, "data": {"patch": 64}}
    with pytest.raises(MemoryError, match="16 patches of 64x64 at once need about"):
        train(tiny(3, **changes), options(dry_run=True))


def test_without_a_figure_of_the_free_memory_nothing_is_refused(options, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    assert train(tiny(1), options())
