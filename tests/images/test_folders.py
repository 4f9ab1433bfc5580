"""Where folders of images are looked for."""

from pathlib import Path

import pytest

from mambairv2.images.folders import find_data, list_images


def test_data_is_looked_for_here_and_below_the_variable(tmp_path, monkeypatch):
    for place in ("here/data/train", "there/data/train", "there/data/test", "shared/data/other"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MAMBAIRV2_DATA", str(tmp_path / "there"))
    assert find_data("data/train") == Path("data/train")
    assert find_data("data/test") == tmp_path / "there" / "data" / "test"
    with pytest.raises(FileNotFoundError) as caught:
        find_data("data/other")
    places = f"{tmp_path / 'here' / 'data' / 'other'} and {tmp_path / 'there' / 'data' / 'other'}"
    assert str(caught.value) == f"no folder data/other (looked at {places})"


def test_without_the_variable_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAMBAIRV2_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"\(looked at .*nowhere; MAMBAIRV2_DATA is not set\)$"):
        find_data("nowhere")


def test_a_folder_without_images_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder nowhere"):
        list_images([Path("nowhere")])
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match="no images in"):
        list_images([tmp_path])
