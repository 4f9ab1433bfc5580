"""The ComfyUI nodes, called as ComfyUI calls them, with stand-ins for its modules."""

import importlib.util
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from mambairv2.integrations.comfyui.__main__ import install
from mambairv2.restoration.restorer import Restorer
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.load import load_model
from real_spandrel import import_spandrel
from run_python import ENVIRONMENT, search_path
from small_weights import save_tiny
from stand_in import pixels


class Cancelled(BaseException):
    """What ComfyUI raises when its cancel button was pressed."""


class Comfy:
    """The parts of ComfyUI that the nodes use, and what they were told."""

    def __init__(self, models):
        self.models, self.told, self.calls, self.cancel_at = models, [], 0, None

    def interrupt(self):
        self.calls += 1
        if self.cancel_at is not None and self.calls >= self.cancel_at:
            raise Cancelled

    def modules(self):
        told = self.told

        class ProgressBar:
            def __init__(self, total):
                self.total = total

            def update_absolute(self, value, total=None, preview=None):
                told.append((value, total))

        comfy, utils, management, folders = (
            types.ModuleType(name) for name in ("comfy", "comfy.utils", "comfy.model_management", "folder_paths")
        )
        utils.ProgressBar = ProgressBar
        management.get_torch_device = lambda: torch.device("cpu")
        management.throw_exception_if_processing_interrupted = self.interrupt
        folders.get_filename_list = lambda kind: {"upscale_models": sorted(p.name for p in self.models.iterdir())}[kind]
        folders.get_full_path = lambda kind, name: str(self.models / name)
        return {module.__name__: module for module in (comfy, utils, management, folders)}


@pytest.fixture
def comfy(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    save_tiny(tmp_path / "models" / "mine.pth")
    found = Comfy(tmp_path / "models")
    for name, module in found.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return found


@pytest.fixture
def nodes(tmp_path, comfy):
    """The nodes of the folder that the command made, loaded by path as ComfyUI loads custom nodes."""
    (tmp_path / "ComfyUI" / "custom_nodes").mkdir(parents=True)
    folder = install(tmp_path / "ComfyUI")
    assert folder == tmp_path / "ComfyUI" / "custom_nodes" / "mambairv2"
    place = importlib.util.spec_from_file_location(
        str(folder), folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def node(nodes, name):
    """A node, checked to keep the contract of ComfyUI, and a call of it with its inputs by name."""
    kind = nodes.NODE_CLASS_MAPPINGS[name]
    assert nodes.NODE_DISPLAY_NAME_MAPPINGS[name]
    assert isinstance(kind.RETURN_TYPES, tuple)
    assert isinstance(kind.CATEGORY, str)
    required = kind.INPUT_TYPES()["required"]
    assert all(isinstance(entry, tuple) for entry in required.values())
    return required, getattr(kind(), kind.FUNCTION)


def images(count, height, width, channels=3):
    return torch.from_numpy(np.stack([pixels(height, width, channels, "float32", seed=k) for k in range(count)]))


def test_the_load_node_offers_packaged_weights_and_files(nodes, comfy):
    required, load = node(nodes, "MambaIRv2Load")
    (choices,) = required["weights"]
    assert choices[-1] == "mine.pth"
    assert {"sr-x2", "sr-x4", "denoise", "jpeg"} <= set(choices)
    (network,) = load(weights="mine.pth")
    expected = load_model(comfy.models / "mine.pth").state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    assert load(weights="jpeg")[0].config.upscale == 1
    (comfy.models / "other.pth").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"other\.pth: is not a weights file"):
        load(weights="other.pth")


@pytest.mark.parametrize("channels", [3, 4])
def test_the_restore_node_gives_what_a_restorer_gives(nodes, comfy, channels):
    required, restore = node(nodes, "MambaIRv2Restore")
    assert set(required) == {"network", "image", "tile", "self_ensemble"}
    given = images(2, 70, 100, channels)
    network = load_model(comfy.models / "mine.pth")
    (found,) = restore(network=network, image=given, tile=64, self_ensemble=False)
    assert (found.shape, found.dtype, found.device.type) == ((2, 140, 200, 3), torch.float32, "cpu")
    assert found.is_contiguous()
    one = Restorer(load_model(comfy.models / "mine.pth"), "cpu", tile=64)
    for k in range(2):
        assert np.array_equal(found[k].numpy(), one.restore(given[k, ..., :3].numpy()))
    assert comfy.told[-1][0] == comfy.told[-1][1] == len(comfy.told)  # tiles of all images, one by one


def test_values_outside_the_range_are_clipped(nodes, comfy):
    _, restore = node(nodes, "MambaIRv2Restore")
    network, given = load_model(comfy.models / "mine.pth"), images(1, 9, 12)
    (found,) = restore(network=network, image=given * 3 - 1)
    assert torch.equal(found, restore(network=network, image=(given * 3 - 1).clamp(0, 1))[0])


@pytest.mark.parametrize("at", [1, 2, 4])
def test_cancelling_stops_it(nodes, comfy, at):
    _, restore = node(nodes, "MambaIRv2Restore")
    comfy.cancel_at = at
    with pytest.raises(Cancelled):
        restore(network=load_model(comfy.models / "mine.pth"), image=images(2, 70, 100), tile=64)
    assert comfy.calls == at
    assert len(comfy.told) < at


def test_comfyui_s_own_loader_takes_the_weights_as_well(comfy, monkeypatch):
    """It imports spandrel before the nodes are loaded."""
    spandrel = import_spandrel()
    monkeypatch.setattr(spandrel, "MAIN_REGISTRY", registry := spandrel.ArchRegistry())
    importlib.reload(importlib.import_module("mambairv2.integrations.comfyui.nodes"))
    state = torch.load(comfy.models / "mine.pth", weights_only=True)  # as ComfyUI reads a file
    assert spandrel.ModelLoader(registry=registry).load_from_state_dict(state).scale == 2


def test_the_command_installs_and_names_what_is_wrong(tmp_path):
    (tmp_path / "ComfyUI" / "custom_nodes").mkdir(parents=True)
    command = [sys.executable, "-m", "mambairv2.integrations.comfyui"]
    environment = {**ENVIRONMENT, "PYTHONPATH": search_path()}
    for arguments, code, said in (
        ([], 2, "usage: "),
        (["nowhere"], 2, "error: nowhere: has no folder custom_nodes; name the folder of ComfyUI\n"),
        (["ComfyUI"], 0, "ComfyUI/custom_nodes/mambairv2\n"),
    ):
        done = subprocess.run([*command, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert (done.stdout + done.stderr).startswith(said)
