"""What defines one MambaIRv2 network: a frozen dataclass, and the published variants by name."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, get_args

FeedForward = Literal["gated", "conv"]
Upsampler = Literal["pixelshuffledirect", "pixelshuffle", "nearest+conv", ""]
ResidualConnection = Literal["1conv", "3conv"]
PromptOrder = Literal["image", "sorted"]
PromptTarget = Literal["C", "B", "delta", "y"]
Variant = Literal["light", "small", "base", "large"]

ONE_CONVOLUTION = ("pixelshuffledirect", "")
"""Upsamplers whose head is a single 3×3 convolution."""
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple[int, ...]": "a list of whole numbers, such as [5, 5, 5, 5]",
}
"""What a field takes, by its annotation, in words. The other fields have choices."""
_LARGEST = 2**16
"""Of any size and any number of layers; what is larger fits no memory."""
_PROMPTS = ("inner_rank", "num_tokens", "prompt_order", "prompt_target", "temperature", "semantic_neighbouring")
_SCAN = ("d_state", "scan_directions", *_PROMPTS)


@dataclass(frozen=True)
class MambaIRv2Config:
    """Hyperparameters of a MambaIRv2 network; the defaults are the light model for ×2.

    Raises ValueError, naming the field and its value, for a combination that defines no network.
    """

    upscale: int = 2
    """Output size over input size: 1 (denoising, JPEG), 2, 3 or 4."""
    in_channels: int = 3
    """1 for grey, 3 for RGB."""
    embed_dim: int = 48
    """E, channels of a token."""
    d_state: int = 8
    """N, states of each hidden channel of the scan."""
    depths: tuple[int, ...] = (5, 5, 5, 5)
    """Attentive layers of each group."""
    num_heads: tuple[int, ...] = (4, 4, 4, 4)
    """Attention heads in each group."""
    window_size: int = 16
    """M, side of an attention window in pixels."""
    inner_rank: int = 32
    """R, rank of the prompt pool."""
    num_tokens: int = 64
    """T, prompts in the pool."""
    mlp_ratio: float = 1.0
    """Hidden over embedded channels, of the scan and of the feed-forwards."""
    ffn: FeedForward = "gated"
    """Gated (light) or convolutional (S, B, L) feed-forward."""
    ffn_kernel_size: int = 5
    """Side of the feed-forward's depthwise kernel."""
    upsampler: Upsampler = "pixelshuffledirect"
    """Reconstruction head; empty for ×1, which adds the result to the input."""
    resi_connection: ResidualConnection = "1conv"
    """Convolutions at the end of each group and of the body."""
    img_range: float = 1.0
    """Factor on the image inside the network."""
    prompt_order: PromptOrder = "image"
    """Order in which prompts meet the sorted tokens: `image` as published, `sorted` as the equations read."""
    prompt_target: PromptTarget = "C"
    """Where the prompt is added: the output matrix C (published), B, the step delta, or the output y."""
    temperature: float = 1.0
    """τ of the Gumbel-softmax that draws prompts in training."""
    attentive_scan: bool = True
    """False leaves window attention only (ablation)."""
    semantic_neighbouring: bool = True
    """False scans in raster order instead of the order of the prompts (ablation)."""
    scan_directions: int = 1
    """1 with prompts, or the 4 of plain Mamba (row, column, both reversed) without them (ablation)."""

    def __post_init__(self) -> None:
        """Check every rule that a network needs."""
        self._check_types()
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "num_heads", tuple(self.num_heads))
        self._check_choices()
        if len(self.depths) != len(self.num_heads) or not self.depths:
            raise ValueError(
                f"depths={self.depths} and num_heads={self.num_heads} need one entry a group, and at least one"
            )
        for heads in self.num_heads:
            if heads < 1 or self.embed_dim % heads:
                raise ValueError(f"embed_dim={self.embed_dim} is not divisible by num_heads={heads}")
        if self.upscale == 1 and self.upsampler:
            raise ValueError(f"upscale=1 takes upsampler='', got {self.upsampler!r}")
        if self.upscale > 1 and not self.upsampler:
            raise ValueError(f"upscale={self.upscale} needs an upsampler, got upsampler=''")
        if self.upsampler == "nearest+conv" and self.upscale != 4:
            raise ValueError(f"upsampler='nearest+conv' is for upscale=4, got upscale={self.upscale}")
        if self.ffn == "gated" and self.hidden_dim % 2:
            raise ValueError(
                f"embed_dim={self.embed_dim} times mlp_ratio={self.mlp_ratio} gives {self.hidden_dim} hidden channels; "
                "ffn='gated' needs an even number of them"
            )
        self._check_idle()

    def _check_types(self) -> None:
        for field in fields(self):
            value, wanted = getattr(self, field.name), _TYPES.get(str(field.type))
            if wanted and not _has_type(value, str(field.type)):
                raise ValueError(f"{field.name}={value!r} must be {wanted}")

    def _check_idle(self) -> None:
        """Refuse a choice that another one makes meaningless. Sizes are let pass, since each variant has its own."""
        plain = {field.name: field.default for field in fields(self)}
        for name, reason in self.idle().items():
            if name not in ("d_state", "inner_rank", "num_tokens") and getattr(self, name) != plain[name]:
                raise ValueError(f"{name}={getattr(self, name)!r} has no effect with {reason}; leave one of them out")

    def idle(self) -> dict[str, str]:
        """Return the fields that change nothing in this network, with the choice that makes them so."""
        if not self.attentive_scan:
            return dict.fromkeys(_SCAN, "attentive_scan=False")
        if self.scan_directions > 1:
            return dict.fromkeys(_PROMPTS, f"scan_directions={self.scan_directions}, which has no prompts")
        if not self.semantic_neighbouring:
            return {"prompt_order": "semantic_neighbouring=False, which sorts nothing"}
        return {}

    def _check_choices(self) -> None:
        choices: dict[str, tuple[object, ...]] = {
            "upscale": (1, 2, 3, 4),
            "in_channels": (1, 3),
            "ffn": get_args(FeedForward),
            "upsampler": get_args(Upsampler),
            "resi_connection": get_args(ResidualConnection),
            "prompt_order": get_args(PromptOrder),
            "prompt_target": get_args(PromptTarget),
            "scan_directions": (1, 4),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {allowed}")
        for name in ("embed_dim", "d_state", "window_size", "inner_rank", "num_tokens", "ffn_kernel_size"):
            if not 1 <= getattr(self, name) <= _LARGEST:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 to {_LARGEST}")
        if not all(1 <= depth <= _LARGEST for depth in self.depths):
            raise ValueError(f"depths={self.depths} must be 1 to {_LARGEST} layers in each group")
        for name in ("temperature", "mlp_ratio", "img_range"):
            if not 0 < getattr(self, name) <= sys.float_info.max:
                raise ValueError(f"{name}={getattr(self, name)!r} must be positive and finite")
        if not 1 <= self.embed_dim * self.mlp_ratio <= _LARGEST:
            raise ValueError(
                f"embed_dim={self.embed_dim} times mlp_ratio={self.mlp_ratio} must be 1 to {_LARGEST} channels"
            )
        if self.embed_dim < 3 and self.attentive_scan and self.scan_directions == 1:
            raise ValueError(
                f"embed_dim={self.embed_dim} must be at least 3 to route tokens to prompts, "
                "as attentive_scan=True with scan_directions=1 does"
            )
        if self.ffn_kernel_size % 2 == 0:
            raise ValueError(f"ffn_kernel_size={self.ffn_kernel_size} must be odd")

    @property
    def hidden_dim(self) -> int:
        """D, hidden channels of the scan and of the feed-forwards."""
        return int(self.embed_dim * self.mlp_ratio)

    @property
    def dt_rank(self) -> int:
        """K, rank of the step projection."""
        return -(-self.hidden_dim // 16)

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain values (tuples as lists), fit for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> MambaIRv2Config:
        """Make a configuration from `to_dict` values; raises ValueError naming an unknown field."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown configuration field {unknown[0]!r}; known: {', '.join(sorted(known))}")
        return cls(**values)  # type: ignore[arg-type]


def _has_type(value: object, annotation: str) -> bool:
    """Tell whether a value is what a field takes; true and false are no numbers."""
    if annotation == "bool":
        return isinstance(value, bool)
    if annotation == "tuple[int, ...]":
        return isinstance(value, (list, tuple)) and all(_has_type(item, "int") for item in value)
    numbers = (int, float) if annotation == "float" else int
    return isinstance(value, numbers) and not isinstance(value, bool)


_CLASSIC = MambaIRv2Config(
    embed_dim=174,
    d_state=16,
    depths=(6,) * 6,
    num_heads=(6,) * 6,
    inner_rank=64,
    num_tokens=128,
    mlp_ratio=2.0,
    ffn="conv",
    upsampler="pixelshuffle",
)

VARIANTS: dict[Variant, MambaIRv2Config] = {
    "light": MambaIRv2Config(),
    "small": replace(_CLASSIC, embed_dim=132, depths=(4,) * 6, num_heads=(4,) * 6),
    "base": _CLASSIC,
    "large": replace(_CLASSIC, depths=(6,) * 9, num_heads=(6,) * 9),
}


def variant(name: Variant, *, upscale: int = 2, in_channels: int = 3) -> MambaIRv2Config:
    """Return a published configuration: light, small, base or large.

    upscale 1 drops the upsampler. For any other change use `dataclasses.replace` on the result.
    Raises ValueError for an unknown name.
    """
    if name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}")
    base = VARIANTS[name]
    upsampler: Upsampler = "" if upscale == 1 else base.upsampler
    return replace(base, upscale=upscale, in_channels=in_channels, upsampler=upsampler)
