"""A small network, photographs, and the command line over them."""

import pytest
from folder_runs import fill
from typer.testing import CliRunner

from mambairv2.cli.main import app
from small_weights import save_tiny


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def run(weights):
    """Run the command line: its exit code, the last line it printed, its errors without a note on missing kernels."""

    def run(*arguments):
        done = CliRunner().invoke(app, ["restore", *map(str, arguments), "--weights", str(weights)])
        return (
            done.exit_code,
            (done.stdout.splitlines() or [""])[-1],
            [line for line in done.stderr.splitlines() if not line.startswith("note: ")],
        )

    return run


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    fill(folder, 3)
    return folder
