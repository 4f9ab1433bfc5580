"""The command `train`: mistakes are told in a line."""

import sys

from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.installation import install_extra


def test_a_missing_extra_is_told(tmp_path, monkeypatch):
    for module in ("loop", "setup", "state", "step"):
        monkeypatch.delitem(sys.modules, f"mambairv2.training.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    (tmp_path / "mine.toml").write_text("[train]\niterations = 1")
    result = CliRunner().invoke(app, ["train", str(tmp_path / "mine.toml")])
    assert result.exit_code == 1
    assert result.stderr == f"error: lightning_fabric is not installed; {install_extra('train')}\n"
