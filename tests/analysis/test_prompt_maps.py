"""Routing: labels with known entropy, networks with a known choice, and the labels that a network really uses."""

import numpy as np
import pytest
import torch

from mambairv2.analysis.recording import read_image, scans_of, with_prompts
from mambairv2.analysis.routing import entropy, route, stability, summary
from mambairv2.analysis.sampling import compare
from mambairv2.images.errors import ImageError
from small_scans import choosing, network
from stand_in import picture


@pytest.mark.parametrize(
    ("shares", "bits"), [([1, 0, 0], 0), ([0.5, 0.5], 1), ([0.25] * 4, 2), ([0.5, 0.25, 0.25, 0], 1.5)]
)
def test_entropy_is_known(shares, bits):
    assert entropy(np.array(shares, float)) == pytest.approx(bits)


def test_figures_of_labels_are_known():
    labels = np.repeat([[2, 5]], 4, axis=0)  # four rows of two
    halves = summary("0.0", labels, np.eye(6)[labels])
    assert (halves.used, halves.entropy, halves.chance, halves.certainty) == (2, 1, 0.5, 1)
    assert halves.information == pytest.approx(1)
    assert halves.neighbours == 6 / 10  # vertical pairs agree, horizontal ones do not
    single = summary("0.0", np.zeros((1, 1), int), np.full((1, 1, 6), 1 / 6))
    assert (single.used, single.entropy, single.neighbours) == (1, 0, 1)
    assert single.certainty == pytest.approx(1 / 6)
    assert single.information == pytest.approx(0)
    half = np.where(np.eye(6)[labels] > 0, 0.5, 0.1)
    assert 0 < summary("0.0", labels, half).information < 1


def test_labels_are_those_that_the_network_uses(monkeypatch):
    model, image, used = network(), torch.rand(3, 21, 26), []
    cls = type(next(iter(scans_of(model).values())))
    attend = cls.attend

    def seen(module, u, label, prompt):
        used.append(label.view(24, 32)[:21, :26].numpy())
        return attend(module, u, label, prompt)

    monkeypatch.setattr(cls, "attend", seen)
    with torch.no_grad():
        model(image[None])
    monkeypatch.undo()
    found = route(model, image)
    assert [layer.layer for layer in found] == ["0.0", "1.0", "1.1"]
    assert max(layer.used for layer in found) > 2
    for layer, labels in zip(found, used, strict=True):
        np.testing.assert_array_equal(layer.labels, labels)


def test_one_prompt_for_all_is_stable_and_certain():
    model = choosing(4)
    for layer in route(model, torch.rand(3, 16, 16)):
        assert (layer.used, layer.entropy, layer.chance) == (1, 0, 1)
        assert layer.certainty == pytest.approx(1)
        assert layer.information == pytest.approx(0, abs=1e-6)
        assert (layer.labels == 4).all()
    assert stability(model, torch.rand(3, 17, 19)) == {name: [1.0] * 3 for name in ("noise", "shift", "mirror")}


def test_mirroring_compares_a_pixel_with_itself(monkeypatch):
    """A routing that goes by colour alone is kept by mirroring and by shifts."""
    from mambairv2.analysis import routing

    def by_colour(model, image):
        labels = (image[0] > 0.5).long().numpy()
        return [summary("0.0", labels, np.eye(2)[labels])]

    monkeypatch.setattr(routing, "route", by_colour)
    image = torch.rand(3, 20, 30).round() * 0.9
    assert stability(None, image) == {"noise": [1.0], "shift": [1.0], "mirror": [1.0]}
    assert stability(None, torch.full((3, 200, 200), 0.5))["noise"][0] == pytest.approx(0.5, abs=0.02)


def test_networks_without_routing_are_refused():
    with pytest.raises(ValueError, match="no attentive scan"):
        with_prompts(network(attentive_scan=False))
    with pytest.raises(ValueError, match="four directions"):
        with_prompts(network(scan_directions=4))


def test_drawing_from_certain_prompts_changes_nothing():
    model = choosing(1)
    image = torch.rand(3, 16, 16)
    found = compare(model, lambda restore: restore(image).double().mean().item(), seeds=3)
    assert [(one.order, one.seeds) for one in found] == [("image", 0), ("image", 3), ("sorted", 0), ("sorted", 3)]
    assert {value for one in found for value in one.values} == {found[0].values[0]}
    assert found[1].spread == 0


def test_drawn_prompts_differ_by_seed_and_come_again():
    model, image = network(), torch.rand(3, 16, 16)

    def figure(restore):
        return restore(image).double().mean().item()

    first, again = compare(model, figure, seeds=3), compare(model, figure, seeds=3)
    assert first == again
    assert len(set(first[1].values)) == 3
    assert first[1].spread > 0
    assert first[2].values != first[0].values  # the order of prompts matters
    assert [one.order for one in compare(network(semantic_neighbouring=False), figure, seeds=0)] == ["image"]


def test_images_are_read_as_the_network_takes_them(tmp_path):
    picture(40, 30, 3).write_to_file(str(tmp_path / "colour.png"))
    picture(40, 30, 1).write_to_file(str(tmp_path / "grey.png"))
    assert read_image(tmp_path / "colour.png", 3).shape == (3, 40, 30)
    middle = read_image(tmp_path / "colour.png", 3, 20)
    assert torch.equal(middle, read_image(tmp_path / "colour.png", 3)[:, 10:30, 5:25])
    grey = read_image(tmp_path / "grey.png", 3)
    assert torch.equal(grey[0], grey[2])
    assert read_image(tmp_path / "colour.png", 1).shape == (1, 40, 30)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(ImageError, match=r"broken\.png"):
        read_image(tmp_path / "broken.png", 3)
