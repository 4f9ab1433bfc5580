"""`benchmarks/card.py`: a card is made of one finished run, around the sections that are written by hand."""

import pytest

from mambairv2.evaluation.evaluate import Result, Score
from mambairv2.evaluation.protocol import Protocol
from mambairv2.installation import install_extra
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.save import save_model

card = pytest.importorskip("card", reason=f"needs matplotlib: {install_extra('plots')}", exc_type=ImportError)

RECIPE = """
[model]
variant = "light"
upscale = 2
[data]
task = "sr"
[train]
iterations = 20
"""


def test_a_card_is_of_one_finished_run(tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE)
    (tmp_path / "log.jsonl").write_text('{"iteration": 0, "Set5/psnr": 34.5}\n{"iteration": 20, "seconds": 5400.0}\n')
    config = MambaIRv2Config(embed_dim=8, depths=(1,), num_heads=(2,), window_size=4, num_tokens=4, inner_rank=2)
    model = MambaIRv2(config)
    path = tmp_path / "w.safetensors"
    save_model(model, path, {"task": "sr", "iteration": "20"})
    recipe, log = card.load_recipe(tmp_path / "r.toml"), card.read_log(tmp_path / "log.jsonl")
    just_above = Score("a", 34.0049999, 0.88815000001, 30.0, 0.8, 1.0)  # rounded twice, others
    results = [Result("Set5", Protocol("sr", 2), [just_above], {})]
    made = card.make_card("sr-x2", path, recipe, log, results)
    assert f"{made.sets[0].psnr:.2f} / {made.sets[0].ssim:.4f}" == "34.00 / 0.8882"
    assert "34.00 / 0.8882" in card.figures_table(results)
    assert (made.task, made.scale, made.iterations, made.hours) == ("sr", 2, 20, 1.5)
    assert card.curve(made, log).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="the log ends at 0, the recipe at 20: give those of one finished run"):
        card.make_card("sr-x2", path, recipe, log[:1], [])


def test_what_is_written_by_hand_is_kept(tmp_path):
    document = tmp_path / "name.md"
    with pytest.raises(ValueError, match=r"name\.md: write its sections"):
        card.by_hand(document)
    sections = "## How it ran\n\nSo.\n\n## Data\n\nThese.\n"
    for before in ("", "# name\n\nA table of ## signs.\n\n"):
        document.write_text(before + sections)
        assert card.by_hand(document) == sections
