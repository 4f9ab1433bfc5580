"""The head of the averaged weights, solved for by least squares when a run has taken its last step."""

from __future__ import annotations

from mambairv2.training.data.batches import first_batches
from mambairv2.training.ema import averaged
from mambairv2.training.log import Reporter
from mambairv2.training.state import State
from mambairv2.training.warm_start import fit_head


def fit_averaged_head(state: State, reporter: Reporter) -> None:
    """Give the averaged weights the head with the least squared error on their features, where the recipe asks for it.

    In the first process, which saves them.
    """
    count, device = state.recipe.train.fit_head, state.fabric.device
    if not count or not state.fabric.is_global_zero:
        return
    reporter.say(f"solving for the head of the averaged weights on {count} batches of eight patches")
    batches = first_batches(state.patches, state.recipe.data.patch, count)
    with averaged(state.network, state.ema):
        fit_head(state.network, ((source.to(device), target.to(device)) for source, target in batches))
