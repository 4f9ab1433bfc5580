"""Runs that are killed at any moment go on to the same outputs."""

import os
import random
import signal
import subprocess
import sys
import time

from folder_runs import fill, lines, outputs

from mambairv2.files.atomic import PREFIX

KILLS = int(os.environ.get("MAMBAIRV2_KILLS", "5"))


def test_killed_at_any_moment_it_goes_on_to_the_same_outputs(tmp_path, weights, run):
    photos, out, scratch = tmp_path / "photos", tmp_path / "out", tmp_path / "scratch"
    fill(photos, 6 * KILLS)
    scratch.mkdir()
    assert run(photos, "-o", tmp_path / "undisturbed")[0] == 0
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    restore = [
        sys.executable,
        "-m",
        "mambairv2.cli",
        "restore",
        str(photos),
        "-o",
        str(out),
        "--weights",
        str(weights),
    ]

    def start(workers=1):
        command = [*restore, "--workers", str(workers)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    chance, killed = random.Random(), 0
    for number in range(KILLS):
        process = start(workers=1 + number % 3)
        for _ in range(number and chance.randrange(1, 4)):  # the first one before it has done much
            process.stdout.readline()
        time.sleep(chance.uniform(0, 0.03 if number else 3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed > 0
    process = start()
    said, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert said.splitlines()[-1].endswith(" skipped, 0 failed")
    assert outputs(out) == outputs(tmp_path / "undisturbed")
    done = [line["output"] for line in lines(out / "manifest.jsonl", "done")]
    assert sorted(done) == sorted(outputs(out))  # none twice
    assert os.listdir(scratch) == []
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(PREFIX)]
