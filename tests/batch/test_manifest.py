"""The record of a run, whole, cut short, foreign or in use."""

import sys

import pytest
from folder_runs import lines

from mambairv2.batch.manifest import Manifest, ManifestError


def test_a_manifest_cut_short_anywhere_is_gone_on_from(photos, tmp_path, run):
    out, manifest = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    run(photos, "-o", out)
    whole = manifest.read_bytes()
    settings = lines(manifest, "run")[0]["settings"]
    for length in range(len(whole) + 1):
        manifest.write_bytes(whole[:length])
        finished = [line for line in whole[:length].split(b"\n") if b'"done"' in line and line.endswith(b"}}")]
        known = Manifest(str(manifest), settings, "0").made_from
        assert sum(digest is not None for digest in known.values()) == len(finished)
    manifest.write_bytes(whole[:-10])
    assert run(photos, "-o", out) == (0, "1 restored, 2 skipped, 0 failed", [])
    text = manifest.read_text()
    broken = [line for line in text.split("\n")[:-1] if not line.endswith("}")]
    assert len(broken) == 1  # the cut line stays, the next begins on its own
    assert run(photos, "-o", out)[1] == "0 restored, 3 skipped, 0 failed"


def test_a_foreign_file_and_one_in_use_are_refused(photos, tmp_path, run):
    (tmp_path / "notes.txt").write_text("mine\n")
    code, _, errors = run(photos, "-o", tmp_path / "out", "--manifest", tmp_path / "notes.txt")
    assert (code, errors) == (
        2,
        [f"error: {tmp_path / 'notes.txt'}: is not a manifest; choose another file with --manifest"],
    )
    assert (tmp_path / "notes.txt").read_text() == "mine\n"
    if sys.platform != "win32":
        place = str(tmp_path / "one.jsonl")
        with Manifest(place, {}, "0"), pytest.raises(ManifestError, match="in use by another run"):
            Manifest(place, {}, "0").__enter__()
