"""A restorer in forked children, in pools of processes, pickled, and in threads."""

import concurrent.futures
import os
import pickle

import numpy as np
import pytest

from mambairv2.images.loaders import forked
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.restorer import Restorer
from run_python import run_python
from small_weights import SMALL
from stand_in import pixels

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

FORKED = """
import os, pathlib, signal, sys
import numpy as np, torch
torch.set_num_threads(4)
from mambairv2 import MambaIRv2, Restorer
from small_weights import SMALL
from stand_in import load, pixels, picture
folder = pathlib.Path(sys.argv[1])
torch.manual_seed(0)
restorer = Restorer(MambaIRv2(SMALL), "cpu")
image = pixels(150, 200, 3)
picture(150, 200, 3).pngsave(str(folder / "in.png"))
expected = restorer.restore(image)

def same(found):  # convolutions round otherwise with another number of threads
    assert np.abs(found.astype(int) - expected).max() <= 1 and (found == expected).mean() > 0.999

restorer.restore_file(folder / "in.png", folder / "out.png")
for again in range(2):
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        status = 1
        try:
            same(restorer.restore(image))
            restorer.restore_file(folder / "in.png", folder / "child.png")
            same(np.asarray(load(folder / "child.png").numpy()))
            new = Restorer(restorer.model, "cpu")  # a restorer of the child's own
            same(new.restore(image))
            grandchild = os.fork()
            if grandchild == 0:
                signal.alarm(120)
                restorer.restore(image)
                os._exit(0)
            status = os.waitpid(grandchild, 0)[1]
        finally:
            os._exit(status)
    print(os.waitpid(child, 0)[1], torch.get_num_threads())
    assert np.array_equal(restorer.restore(image), expected)  # the parent is as it was
"""


@forks
def test_a_forked_child_restores_what_its_parent_does(tmp_path):
    """The parent's threads, of OpenMP and of libvips, are not there in the child."""
    assert run_python(FORKED, tmp_path) == "0 4\n" * 2


POOL = """
import multiprocessing, sys
import numpy as np, torch
torch.set_num_threads(4)
from mambairv2 import MambaIRv2, Restorer
from small_weights import SMALL
from stand_in import pixels
torch.manual_seed(0)
restorer = Restorer(MambaIRv2(SMALL), "cpu")
images = [pixels(90, 100, 3, seed=seed) for seed in range(4)]
expected = [restorer.restore(image) for image in images]
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(restorer.restore, images).get(timeout=120)
    print(all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(found, expected)))
"""


@forks
def test_a_pool_of_forked_processes_restores():
    assert run_python(POOL) == "True\n"


@pytest.mark.parametrize("options", [{}, {"tile": 64, "overlap": 32, "self_ensemble": True}], ids=str)
def test_a_restorer_can_be_pickled(options):
    one, image = Restorer(MambaIRv2(SMALL), "cpu", **options), pixels(30, 90, 3)
    other = pickle.loads(pickle.dumps(one))
    assert np.array_equal(other.restore(image), one.restore(image))
    assert (other.tile, other.overlap, other.self_ensemble) == (one.tile, one.overlap, one.self_ensemble)
    assert other.device == one.device


@pytest.mark.parametrize("options", [{}, {"tile": 64, "overlap": 32, "margin": False, "strength": 0.5}], ids=str)
def test_a_restorer_on_another_device_has_its_own_network_and_the_same_settings(options):
    one, image = Restorer(MambaIRv2(SMALL), "cpu", **options), pixels(30, 90, 3)
    other = one.on("cpu")
    assert np.array_equal(other.restore(image), one.restore(image))
    assert other.model is not one.model
    with pytest.raises(ValueError, match="no device cuda:77 here"):
        one.on("cuda:77")


def test_a_pool_of_threads_shares_a_restorer():
    one, images = Restorer(MambaIRv2(SMALL), "cpu", tile=64), [pixels(70, 80, 3, seed=seed) for seed in range(8)]
    alone = [one.restore(image) for image in images]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(one.restore, images))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_where_the_threads_of_libvips_are_lost_a_child_says_so(monkeypatch):
    monkeypatch.setattr(forked._FORK, "lost", True)
    with pytest.raises(RuntimeError, match=r"forked after images were opened; start workers by spawn"):
        forked.check_threads()
