"""Published figures to compare ours with: PSNR in dB and SSIM, by protocol, method and test set.

They are from the papers of MambaIRv2 (CVPR 2025), MambaIR (ECCV 2024), SRFormer and HAT (2023), Restormer (CVPR 2022)
and SwinIR (ICCVW 2021). Those treat the one grey image of Set14 as RGB, which raises the mean of that set by 0.09 dB.
"""

from __future__ import annotations

from mambairv2.tasks import TASKS, Level, TaskName

Figure = tuple[float, float | None]
"""PSNR, and SSIM where it is published."""
Table = dict[str, tuple[Figure, ...]]
"""By method, one figure a test set, in the order of `Task.sets`."""

_LIGHT: dict[int, Table] = {
    2: {
        "SwinIR-light": ((38.14, 0.9611), (33.86, 0.9206), (32.31, 0.9012), (32.76, 0.9340), (39.12, 0.9783)),
        "MambaIR-light": (
            (38.13, 0.9610),
            (33.95, 0.9208),
            (32.31, 0.9013),
            (32.85, 0.9349),
            (39.20, 0.9782),
        ),
        "SRFormer-light": (
            (38.23, 0.9613),
            (33.94, 0.9209),
            (32.36, 0.9019),
            (32.91, 0.9353),
            (39.28, 0.9785),
        ),
        "MambaIRv2-light": (
            (38.26, 0.9615),
            (34.09, 0.9221),
            (32.36, 0.9019),
            (33.26, 0.9378),
            (39.35, 0.9785),
        ),
    },
    3: {
        "SwinIR-light": ((34.62, 0.9289), (30.54, 0.8463), (29.20, 0.8082), (28.66, 0.8624), (33.98, 0.9478)),
        "SRFormer-light": (
            (34.67, 0.9296),
            (30.57, 0.8469),
            (29.26, 0.8099),
            (28.81, 0.8655),
            (34.19, 0.9489),
        ),
        "MambaIRv2-light": (
            (34.71, 0.9298),
            (30.68, 0.8483),
            (29.26, 0.8098),
            (29.01, 0.8689),
            (34.41, 0.9497),
        ),
    },
    4: {
        "SwinIR-light": ((32.44, 0.8976), (28.77, 0.7858), (27.69, 0.7406), (26.47, 0.7980), (30.92, 0.9151)),
        "SRFormer-light": (
            (32.51, 0.8988),
            (28.82, 0.7872),
            (27.73, 0.7422),
            (26.67, 0.8032),
            (31.17, 0.9165),
        ),
        "MambaIRv2-light": (
            (32.51, 0.8992),
            (28.84, 0.7878),
            (27.75, 0.7426),
            (26.82, 0.8079),
            (31.24, 0.9182),
        ),
    },
}
_CLASSIC: dict[int, Table] = {
    2: {
        "HAT": ((38.63, 0.9630), (34.86, 0.9274), (32.62, 0.9053), (34.45, 0.9466), (40.26, 0.9809)),
        "MambaIRv2-S": ((38.53, 0.9627), (34.62, 0.9256), (32.59, 0.9048), (34.24, 0.9454), (40.27, 0.9808)),
        "MambaIRv2-B": ((38.65, 0.9631), (34.89, 0.9275), (32.62, 0.9053), (34.49, 0.9468), (40.42, 0.9810)),
        "MambaIRv2-L": ((38.65, 0.9632), (34.93, 0.9276), (32.62, 0.9053), (34.60, 0.9475), (40.55, 0.9807)),
    },
    3: {
        "MambaIRv2-S": ((35.09, 0.9326), (31.07, 0.8547), (29.51, 0.8157), (30.08, 0.8871), (35.44, 0.9549)),
        "MambaIRv2-B": ((35.18, 0.9334), (31.12, 0.8557), (29.55, 0.8169), (30.28, 0.8905), (35.61, 0.9556)),
        "MambaIRv2-L": ((35.16, 0.9334), (31.18, 0.8564), (29.57, 0.8175), (30.34, 0.8912), (35.72, 0.9561)),
    },
    4: {
        "MambaIRv2-S": ((32.99, 0.9037), (29.23, 0.7965), (27.97, 0.7502), (27.73, 0.8307), (32.33, 0.9276)),
        "MambaIRv2-B": ((33.14, 0.9057), (29.23, 0.7975), (28.00, 0.7511), (27.89, 0.8344), (32.57, 0.9295)),
        "MambaIRv2-L": ((33.19, 0.9062), (29.29, 0.7982), (28.01, 0.7521), (28.07, 0.8383), (32.66, 0.9304)),
    },
}
_DENOISE: dict[int, Table] = {
    15: {
        "SwinIR": ((34.42, None), (35.34, None), (35.61, None), (35.13, None)),
        "Restormer": ((34.40, None), (35.35, None), (35.61, None), (35.13, None)),
        "MambaIR": ((34.48, None), (35.42, None), (35.70, None), (35.37, None)),
        "MambaIRv2-B": ((34.48, None), (35.43, None), (35.73, None), (35.42, None)),
    },
}
_JPEG: dict[int, Table] = {
    10: {"SwinIR": ((30.27, 0.8249), (29.86, 0.8287)), "MambaIRv2-B": ((30.37, 0.8269), (29.91, 0.8301))},
    30: {"SwinIR": ((33.73, 0.8961), (33.69, 0.9174)), "MambaIRv2-B": ((33.81, 0.8970), (33.73, 0.9179))},
    40: {"SwinIR": ((34.52, 0.9082), (34.67, 0.9317)), "MambaIRv2-B": ((34.64, 0.9093), (34.73, 0.9323))},
}


# Super-resolution, by scale: parameters in thousands, and 10⁹ multiply-accumulates for an output of 1280×720.
# ATD (CVPR 2024), CATANet and PFT (CVPR 2025) as later papers quote them; of CATANet only the ×4 MACs were found.
COSTS: dict[int, dict[str, tuple[int, float | None]]] = {
    2: {
        "SwinIR-light": (910, 244.2),
        "MambaIR-light": (905, 334.2),
        "SRFormer-light": (853, 236.3),
        "ATD-light": (753, 348.6),
        "CATANet": (477, None),
        "PFT-light": (776, 278.3),
        "MambaIRv2-light": (774, 286.3),
        "HAT": (20600, None),
        "MambaIRv2-S": (9600, None),
        "MambaIRv2-B": (22900, None),
        "MambaIRv2-L": (34200, None),
    },
    3: {
        "SwinIR-light": (918, 111.2),
        "SRFormer-light": (861, 105.4),
        "ATD-light": (760, 154.7),
        "CATANet": (550, None),
        "PFT-light": (783, 123.5),
        "MambaIRv2-light": (781, 126.7),
    },
    4: {
        "SwinIR-light": (930, 63.6),
        "SRFormer-light": (873, 62.8),
        "ATD-light": (769, 87.1),
        "CATANet": (535, 46.8),
        "PFT-light": (792, 69.6),
        "MambaIRv2-light": (790, 75.6),
    },
}

# PSNR of the light network for ×2 after 250,000 iterations, by what is changed in it.
ABLATION_SETS = ("Urban100", "Manga109")
ABLATIONS: dict[str, tuple[dict[str, bool | str], tuple[Figure, ...]]] = {
    "window attention only": ({"attentive_scan": False}, ((32.89, None), (39.11, None))),
    "+ attentive scan": ({"semantic_neighbouring": False}, ((32.94, None), (39.20, None))),
    "+ semantic neighbouring: the network": ({}, ((32.97, None), (39.24, None))),
    "prompt in B": ({"prompt_target": "B"}, ((32.96, None), (39.23, None))),
    "prompt in Δ": ({"prompt_target": "delta"}, ((32.93, None), (39.19, None))),
    "prompt in y": ({"prompt_target": "y"}, ((32.94, None), (39.21, None))),
}


def published(task: TaskName, scale: int, level: Level, channels: int, light: bool, name: str) -> dict[str, Figure]:
    """Return the figures of other methods on one test set, by method; empty where none are known.

    channels: figures are known for colour super-resolution and denoising (3) and grey JPEG (1). light: super-resolution
    networks of under a million parameters, or else the larger ones.
    """
    tables = {"sr": _LIGHT if light else _CLASSIC, "denoise": _DENOISE, "jpeg": _JPEG}
    names = [known.lower() for known in TASKS[task].sets]
    at = level if TASKS[task].levels else scale
    if name.lower() not in names or channels != TASKS[task].channels or isinstance(at, str):
        return {}
    table = tables.get(task, {}).get(at, {})
    return {method: row[names.index(name.lower())] for method, row in table.items()}
