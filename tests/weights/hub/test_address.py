"""What is an address of the Hub, and what is a path."""

import pytest

from mambairv2.weights.errors import WeightsError
from mambairv2.weights.hub.address import Address, parse
from mambairv2.weights.hub.published import FILES, by_hand, published


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("owner/net", Address("owner/net")),
        ("owner/net-v1.0", Address("owner/net-v1.0")),
        ("owner/net@v1", Address("owner/net", revision="v1")),
        ("owner/net@refs%2Fpr%2F1", Address("owner/net", revision="refs/pr/1")),
        ("hf://owner/net", Address("owner/net")),
        ("hf://owner/net/a b/c.pth", Address("owner/net", "a b/c.pth")),
        ("hf://owner/net@v1/c.safetensors", Address("owner/net", "c.safetensors", "v1")),
        ("hf://owner/net/a@2.pth", Address("owner/net", "a@2.pth")),
    ],
)
def test_addresses(text, address):
    assert parse(text) == address
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    "path",
    ["net", "owner/net.pth", "owner/net.safetensors", "./net", "../net", "/a/b", "a/b/c", "a/b/", "a//b", "~/net"]
    + ["s3://bucket/net", "owner\\net", "C:/net", "", "a/b c", "owner/.net", "owner/nét"],
)  # fmt: skip
def test_paths(path):
    assert parse(path) is None


def test_a_name_in_a_folder_that_is_here_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert parse("runs/net") is None
    assert parse("hf://runs/net") == Address("runs/net")


@pytest.mark.parametrize("text", ["hf://", "hf://owner", "hf://owner/", "hf:///net", "hf://../net", "hf://a/b@/c"])
def test_addresses_that_are_not_complete(text):
    with pytest.raises(WeightsError, match=f"{text}: write it as hf://owner/repo"):
        parse(text)


def test_published_names():
    assert published("published:light-x2") == Address("cguoh/MambaIR", "MambaIRv2_ckpt/mambairv2_lightSR_x2.pth")
    assert published("light-x2") is None
    assert by_hand(Address("owner/net")) == ""
    for name in FILES:
        assert FILES[name] in by_hand(published(f"published:{name}"))
