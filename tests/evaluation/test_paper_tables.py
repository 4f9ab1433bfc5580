from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import pyvips
import torch
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.evaluation import paper_tables as reproduce
from mambairv2.evaluation.paper_tables import TABLES, Network, document, fits, measure_all
from mambairv2.evaluation.protocol import Protocol
from mambairv2.network.complexity import cost
from mambairv2.network.config import VARIANTS, MambaIRv2Config, variant
from mambairv2.network.model import MambaIRv2
from mambairv2.tasks import TASKS
from mambairv2.weights.save import save_model
from stand_in import picture

TINY = MambaIRv2Config(embed_dim=12, d_state=2, depths=(1,), num_heads=(2,), num_tokens=4, inner_rank=3, window_size=8)
ONE = {"upscale": 1, "upsampler": ""}


@pytest.fixture
def sets(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("Set5", "CBSD68", "classic5"):
        (tmp_path / "test" / name / "HR").mkdir(parents=True)
        for number in range(2):
            pixels = generator.integers(60, 200, (30, 36, 3), np.uint8)
            file = tmp_path / "test" / name / "HR" / f"{number}.png"
            pyvips.Image.new_from_array(pixels).write_to_file(str(file))
    return tmp_path / "test"


def network(name, task, **changes):
    torch.manual_seed(0)
    return Network(name, task, MambaIRv2(replace(TINY, **changes)).eval())


def section(text, title):
    lines = text.split(f"## {title}\n\n")[1].split("\n\n")[0].splitlines()
    return {row[0]: row[1:] for row in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}


def test_published_figures_stand_without_weights(sets):
    text = document([], {}, sets)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        *(paper.title for paper in TABLES),
        "Complexity",
        "Ablations, light ×2",
        "Not measured",
    ]
    assert section(text, "Light super-resolution ×2")["MambaIRv2-light"][3] == "33.26 / 0.9378"
    assert section(text, "Classic super-resolution ×4")["MambaIRv2-L"][0] == "33.19 / 0.9062"
    assert section(text, "Grey JPEG, quality 40")["MambaIRv2-B"] == ["34.64 / 0.9093", "34.73 / 0.9323"]
    assert "Colour denoising, σ 25: no weights" in text


def test_ours_and_the_differences_are_filled_in(sets):
    ours = network("mine", "sr")
    means = measure_all([ours], sets)
    score = means["mine", Protocol("sr", 2), "Set5"]
    rows = section(document([ours], means, sets), "Light super-resolution ×2")
    assert rows["ours: mine"] == [f"{score.psnr:.2f} / {score.ssim:.4f}", *["–"] * 4]
    difference = f"{score.psnr - 38.26:+.2f} / {score.ssim - 0.9615:+.4f}"
    assert rows["less MambaIRv2-light"] == [difference, *["–"] * 4]
    assert rows["bicubic, measured"][0] == f"{score.base_psnr:.2f} / {score.base_ssim:.4f}"
    missing = document([ours], means, sets).split("## Not measured")[1]
    assert f"Light super-resolution ×2: no test images of Set14, BSD100, Urban100, Manga109 in {sets}" in missing
    assert "Light super-resolution ×3: no weights" in missing


def test_every_level_of_denoising_and_jpeg(sets):
    both = [network("noise", "denoise", **ONE), network("jpeg", "jpeg", in_channels=1, **ONE)]
    means = measure_all(both, sets, limit=1)
    text = document(both, means, sets)
    assert {protocol.level for name, protocol, _ in means if name == "noise"} == {15, 25, 50}
    rows = section(text, "Colour denoising, σ 15")
    assert rows["less MambaIRv2-B"][0] == f"{means['noise', Protocol('denoise', 1, 15), 'CBSD68'].psnr - 34.48:+.2f}"
    assert set(section(text, "Colour denoising, σ 50")) >= {"ours: noise", "noisy, measured"}
    grey = means["jpeg", Protocol("jpeg", 1, 10, 1), "classic5"]
    assert section(text, "Grey JPEG, quality 10")["ours: jpeg"][0] == f"{grey.psnr:.2f} / {grey.ssim:.4f}"


def test_costs_stand_beside_the_published(sets):
    text = document([], {}, sets).split("## Complexity")[1].split("## Abl")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ×")]
    counted = "774,092", "+0.0 %", "286.3 G", "268.6 G", "-6.2 %", "286.3 G"
    assert ["×2", "MambaIRv2-light", "774 K", *counted] in rows
    assert ["×2", "CATANet", "477 K", *["–"] * 6] in rows
    assert rows[0] == ["×2", "SwinIR-light", "910 K", "–", "–", "244.2 G", "–", "–", "–"]
    assert ["MambaIRv2-light", "790 K", "75.6 G"] in [row[1:3] + row[5:6] for row in rows if row[0] == "×4"]


def test_ablations_take_the_weights_of_exactly_that_network(sets, monkeypatch):
    monkeypatch.setitem(VARIANTS, "light", TINY)
    (sets / "Set5").rename(sets / "Urban100")
    networks = [network("plain", "sr", attentive_scan=False), network("mine", "sr", num_tokens=3)]
    means = measure_all(networks, sets)
    text = document(networks, means, sets).split("## Ablations")[1].split("## Not")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    score = means["plain", Protocol("sr", 2), "Urban100"]
    ours = cost(networks[0].config, 360, 640)
    counted = f"{ours.parameters:,}", f"{ours.macs / 1e9:.1f} G"
    assert rows[2] == ["window attention only", *counted, "32.89", "39.11"]
    assert rows[3] == ["ours: plain", "–", "–", f"{score.psnr:.2f} / {score.ssim:.4f}", "–"]
    assert rows[4] == ["less the paper's", "–", "–", f"{score.psnr - 32.89:+.2f}", "–"]
    assert not [row for row in rows if "mine" in row[0]]


def test_a_network_of_no_table_is_told(sets):
    grey = network("grey", "denoise", in_channels=1, **ONE)
    assert not fits(grey)
    assert measure_all([grey], sets) == {}
    assert "- grey: no table takes a denoise network of this kind" in document([grey], {}, sets)


def test_nothing_missing_is_told(sets, monkeypatch):
    """Where every table has weights and test sets, the last section says that nothing is missing."""
    for name in (*TASKS["sr"].sets, "Urban100", "Manga109"):
        if name != "Set5":
            (sets / name).mkdir(exist_ok=True)
            picture(24, 26, 3).write_to_file(str(sets / name / "a.png"))
    monkeypatch.setattr(reproduce, "TABLES", TABLES[:1])
    ours = network("mine", "sr")
    text = document([ours], measure_all([ours], sets), sets)
    assert text.endswith("## Not measured\n\nNothing is missing.\n")


@pytest.mark.parametrize(("name", "paper"), [("light", "light"), ("small", "S"), ("base", "B"), ("large", "L")])
def test_each_variant_is_held_against_its_own(name, paper):
    given = Network("x", "sr", SimpleNamespace(config=variant(name, upscale=3)))
    assert given.reference() == f"MambaIRv2-{paper}"
    assert [table.title for table in TABLES if table.takes(given)] == [
        f"{'Light' if VARIANTS[name].ffn == 'gated' else 'Classic'} super-resolution ×3"
    ]


def test_the_command(sets, tmp_path):
    (tmp_path / "runs").mkdir()
    save_model(MambaIRv2(TINY), tmp_path / "runs" / "tiny.safetensors")
    out = tmp_path / "out" / "tables.md"
    arguments = ["reproduce", str(tmp_path / "runs"), "--data", str(sets), "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, "--limit", "1", "--output", str(out)])
    assert result.exit_code == 0, result.output
    assert "1 weights, 1 means over test sets" in result.output
    assert "Only the first 1 images" in out.read_text()
    before = out.read_text().split("## Complexity")[0]
    assert "ours: " in before
    assert "SwinIR" not in before
    assert "less MambaIRv2" not in before
    assert "Ablations, light" not in out.read_text().split("## Not measured")[0]
    assert [path.name for path in out.parent.iterdir()] == ["tables.md"]
    result = CliRunner().invoke(app, ["reproduce", str(sets), "--data", str(sets)])
    assert result.exit_code == 1
    assert "has no .safetensors or .pth files" in result.output
