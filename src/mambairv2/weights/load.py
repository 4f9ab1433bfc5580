"""The network as users have it: loaded from files and from the Hugging Face Hub, saved as a folder, uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2 as Network
from mambairv2.weights.blueprint import blueprint
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.hub.fetch import Access
from mambairv2.weights.infer_config import config_of
from mambairv2.weights.packaged import find_weights
from mambairv2.weights.published_names import strip, to_ours
from mambairv2.weights.read_tensors import State, read_tensors


class MambaIRv2(Network):
    """The network, in every variant: one class, the light model is a configuration.

    Input: (B, C, h, w) of any size from 1×1, values in [0, 1]. Output: (B, C, h·s, w·s), not clamped.
    In evaluation mode the result is deterministic; in training mode, or with a generator, prompts are drawn.
    """

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__(config)
        self.metadata: dict[str, str] = {}
        """What the file says of itself besides the configuration, such as `task`; saved with the network."""

    # The methods below have the names and arguments of huggingface_hub's ModelHubMixin. That is no base class, since
    # it would be imported, and be needed, by everyone who makes a network.

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> MambaIRv2:
        """Load a network in evaluation mode from a folder, the Hugging Face Hub, or all else that `load_model` takes.

        revision: a branch, tag or commit, instead of that of the address. token: for private repositories; by default
        that of `hf auth login` or HF_TOKEN. cache_dir: instead of the usual cache of the Hub. force_download: also
        what the cache has. local_files_only: only what the cache has. Raises WeightsError, in one line.
        """
        path = find_weights(path_or_name, Access(revision, token, cache_dir, force_download, local_files_only))
        return model_of(*read_tensors(path), path, device=device, dtype=dtype)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        repo_id: str | None = None,
        card: str | None = None,
        license: str | None = None,
    ) -> None:
        """Write `model.safetensors`, `config.json` and `README.md` into a folder, which is made.

        repo_id: what the examples in the card load. card: your account of the weights, in Markdown: training, data,
        figures, limits; a text that begins with `---` is taken as the whole README.md. Packaged weights come with
        theirs, as long as no tensor was changed. license: that of the weights, such as `apache-2.0`. A README.md that
        is there is kept unless a card is given. Needs huggingface_hub. Raises WeightsError without it, and OSError.
        """
        from mambairv2.weights.sharing.folder import save_folder

        save_folder(self, Path(folder), self.metadata, repo=repo_id, card=card, license=license)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload a MambaIRv2 network",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        card: str | None = None,
        license: str | None = None,
    ) -> str:
        """Upload the files of `save_pretrained` to the Hugging Face Hub; return the address of the commit.

        repo_id: `owner/repo`, which is made where there is none. private: whether a new one is. branch: made where
        there is none; by default the main branch. create_pr: a pull request, whose address is returned. card, license:
        as for `save_pretrained`; a README.md that is there is replaced. Raises WeightsError, in one line.
        """
        from mambairv2.weights.sharing.push import push

        return push(
            self,
            repo_id,
            self.metadata,
            commit_message=commit_message,
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
            card=card,
            license=license,
        )


def load_model(
    path_or_name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MambaIRv2:
    """Load a network in evaluation mode from a name, a file, a folder or the Hugging Face Hub.

    path_or_name: a packaged name (`sr-x2`), a file, a folder of `save_pretrained` or of a training run, an address on
    the Hub (`owner/repo`, `hf://owner/repo@revision/path/of/file`), or a published name (`published:light-x2`).
    Reads safetensors and .pth in the published layout, under any key (`params`, `params_ema`, `generator`, …) and any
    prefix (`module.`, …); of several networks in a file the averaged one is taken. Variant, scale, channels and head
    are read off the tensors. Weights go to dtype directly from the dtype they are stored in. No code in a file is ever
    run. Raises WeightsError for a file that is missing, damaged, unsafe or of another network, and for tensors that
    are not finite.
    """
    return MambaIRv2.from_pretrained(path_or_name, device=device, dtype=dtype)


def model_of(
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MambaIRv2:
    """Return the network, in evaluation mode, of tensors that were read already; its checks are those of `load_model`.

    state: tensors under published names or ours, under any prefix. metadata: that of a safetensors file, or empty.
    source: what an error names. A tensor that is contiguous and of this device and dtype is shared, not copied.
    """
    path = Path(source)
    state = strip(state, path)
    _check_finite(state, path)
    state = to_ours(state)
    model = _empty_model(config_of({name: tuple(t.shape) for name, t in state.items()}, metadata, path), path)
    _check_tensors(state, model.state_dict(), path)
    model.load_state_dict({name: t.to(device, dtype).contiguous() for name, t in state.items()}, assign=True)
    model.metadata = {key: value for key, value in metadata.items() if key not in ("config", "format")}
    return model.requires_grad_(True).eval()


def _check_finite(state: State, path: Path) -> None:
    for name, tensor in state.items():
        if (
            tensor.is_floating_point()
            and not torch.isfinite(tensor.to(torch.promote_types(tensor.dtype, torch.float32))).all()
        ):
            raise WeightsError(
                f"{path}: {name} holds NaN or infinity, as after a training that diverged; take an earlier checkpoint"
            )


def _empty_model(config: MambaIRv2Config, path: Path) -> MambaIRv2:
    try:
        return blueprint(config, MambaIRv2)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        if "bad_alloc" in str(error):
            raise MemoryError("not enough memory for the network") from None
        raise WeightsError(f"{path}: its configuration defines no network ({error})") from None


def _check_tensors(state: State, expected: State, path: Path) -> None:
    missing = sorted(set(expected) - set(state))
    extra = sorted(set(state) - set(expected))
    if missing or extra:
        what = f"{missing[0]} is missing" if missing else f"{extra[0]} is not of this network"
        raise WeightsError(
            f"{path}: holds no whole MambaIRv2 weights ({what}; {len(missing) + len(extra)} names differ)"
        )
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            shapes = f"{tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
            raise WeightsError(f"{path}: {name} is {shapes}; the file is not consistent")
        if not state[name].is_floating_point():
            raise WeightsError(f"{path}: {name} holds {state[name].dtype}, not floating-point weights")
