"""The network that a run starts from, and the one that it learns from."""

from __future__ import annotations

import torch

from mambairv2.images.folders import data_roots
from mambairv2.network.model import MambaIRv2
from mambairv2.training.data.batches import first_batches
from mambairv2.training.data.patches import Patches
from mambairv2.training.distillation import Teacher, check_teacher, principal_channels
from mambairv2.training.recipe import Recipe
from mambairv2.training.warm_start import fit_head, warm_start
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.load import load_model
from mambairv2.weights.packaged import find_weights
from mambairv2.weights.read_tensors import load_state


def check_start(recipe: Recipe) -> None:
    """See that the weights to start from and to learn from exist, before images are decoded; raises ValueError."""
    for key, name in (("start_from", recipe.model.start_from), ("teacher", recipe.teacher.weights)):
        try:
            if name:
                find_weights(located(name))
        except WeightsError as error:
            raise ValueError(f"{key}: {error}") from None


def located(weights: str) -> str:
    """Return weights that a recipe names as the file that is meant, or as they are named.

    Files are looked for as folders of images are: from the working directory, then below $MAMBAIRV2_DATA.
    """
    files = [root / weights for root in data_roots()]
    return next((str(file) for file in files if file.is_file()), weights)


def build_network(recipe: Recipe, patches: Patches) -> MambaIRv2:
    """Make the network that a run starts from: initial values by the seed, other weights, or a warm start.

    Raises ValueError for weights that do not fit; only the head may differ.
    """
    part = recipe.model
    torch.manual_seed(recipe.seed)
    network = MambaIRv2(part.config())
    batches = first_batches(patches, recipe.data.patch, 25)
    if not part.start_from:
        if part.warm_start:
            warm_start(network, batches)
        return network
    own, given = network.state_dict(), load_state(located(part.start_from))
    fitting = {name: t for name, t in given.items() if name in own and t.shape == own[name].shape}
    others = sorted(set(own) - set(fitting))
    if any(not name.startswith("head.") for name in others):
        raise ValueError(f"{part.start_from} does not fit the recipe's network: {', '.join(others[:3])}")
    network.load_state_dict({**own, **fitting})
    if others and part.warm_start:
        fit_head(network, batches)
    return network


def build_teacher(recipe: Recipe, network: MambaIRv2, patches: Patches) -> Teacher | None:
    """Load the recipe's teacher, if it has one; raises ValueError for one that cannot teach the network."""
    parts = [goal.teacher for goal in recipe.goals()]
    if not recipe.teacher.weights:
        return None
    teacher = load_model(located(recipe.teacher.weights))
    features = any(part.features or part.routing for part in parts)
    outputs, routing = any(part.outputs for part in parts), any(part.routing for part in parts)
    check_teacher(network, teacher, outputs=outputs, features=features, routing=routing)
    width = network.config.embed_dim
    if not features or width == teacher.config.embed_dim:
        return Teacher(teacher)
    images = (source for source, _ in first_batches(patches, recipe.data.patch, 4))
    return Teacher(teacher, principal_channels(teacher, images, width))
