"""A Python process of its own, with the paths of this one."""

import os
import subprocess
import sys


def search_path():
    """The paths of this process as they are now: pytest adds the folder of a test when it collects it."""
    return os.pathsep.join(path for path in sys.path if path)


ENVIRONMENT = {**os.environ, "PYTHONPATH": search_path()}


def run_python(code, *arguments, **environment):
    """Run a script and return what it prints; fails with its errors unless it ends well."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    given = {**ENVIRONMENT, "PYTHONPATH": search_path(), **environment}
    done = subprocess.run(command, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
