"""The notebook runs from top to bottom and draws a figure for each analysis."""

import ast
import json

import pytest

from documents import ROOT
from mambairv2.installation import install_extra

NOTEBOOK = ROOT / "examples" / "what_the_network_does.ipynb"


def test_every_cell_runs_and_draws(monkeypatch):
    pytest.importorskip("matplotlib", reason=f"matplotlib is not installed: {install_extra('plots')}")
    from matplotlib.figure import Figure

    monkeypatch.chdir(ROOT / "examples")
    names, figures = {}, []
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells):
        assert not cell["outputs"], "outputs are not kept: they would be megabytes"
        lines = [line for line in "".join(cell["source"]).splitlines() if not line.startswith("%")]
        tree = ast.parse("\n".join(lines).replace("side=48", "side=32"))  # fewer pixels, the same pictures
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        if last is not None:
            shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
            assert isinstance(shown, Figure)
            shown.canvas.draw()
            figures.append(shown)
    assert len(figures) == 4
