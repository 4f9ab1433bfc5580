"""Whether `auto` may take the Triton kernels on a GPU: only where they compiled and agreed with the reference once.

The check runs in a process of its own: a kernel that crashes spoils neither this process nor its GPU context, and
nothing of it is seen by torch.compile. The verdict is kept in the cache folder, by everything that it depends on.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import torch

from mambairv2.ops.own_process import ended_badly, run_module
from mambairv2.ops.triton_support import SCAN, WINDOW_ATTENTION

Verdict = dict[str, str | None]
"""For each operation, by the names of `triton_support`: None if the kernels agree, else what is wrong."""

TIMEOUT = 300.0
"""Seconds after which the check is ended: kernels compile in a few, and a machine may be busy."""
_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/sys/module/amdgpu/version"))
_HERE = Path(__file__).parent

_known: dict[tuple[str, torch.dtype], Verdict] = {}
_lock = threading.Lock()
_told: list[str] = []


def agrees(operation: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the kernels of an operation are right on a GPU; a line on stderr says so, once, if they are not.

    At the first call on a machine this takes some seconds; later ones read the verdict that was kept.
    """
    key = (str(device), dtype)
    if key not in _known:
        if torch.compiler.is_dynamo_compiling():  # a torch that does not know the mark below traces this
            return False
        with _lock:
            if key not in _known:
                _known[key] = _kept(device, dtype) or _check(device, dtype)
    verdict = _known[key]
    reason = verdict.get(operation, "it was not checked")
    if reason is not None and not _told:
        _told.append(reason)
        print(
            f"note: plain torch runs on {device}, several times slower, since Triton's {operation} ({_name(dtype)}) "
            f"failed its check: {reason}; `mambairv2 check` shows more",
            file=sys.stderr,
        )
    return reason is None


# torch.compile runs the function when it traces, instead of tracing it, and takes the result for a constant: what
# torch.compiler.assume_constant_result does, which would load all of the compiler here.
agrees._dynamo_marked_constant = True  # type: ignore[attr-defined]


def keep(device: torch.device, dtype: torch.dtype, verdict: Verdict) -> Path | None:
    """Keep a verdict for later processes, whole or not at all; returns the file, None where none can be written."""
    path, identity = _place(device, dtype)
    if path is None:
        return None
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"verdict": verdict, "of": identity}, file, indent=1)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return path
    return None


def cache_folder() -> Path | None:
    """Return where this platform keeps what can be made again; None where there is no home folder."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # others are to be ignored, says the XDG specification
        return Path(named) / "mambairv2"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "mambairv2" / "cache"
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "mambairv2"


def _check(device: torch.device, dtype: torch.dtype) -> Verdict:
    """Check in a process of its own, and keep what it found about the kernels."""
    try:
        done = run_module("mambairv2.ops.self_check", str(device), _name(dtype), timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        verdict, final = _failed(f"it did not end within {TIMEOUT:.0f} s"), True
    except OSError as error:
        verdict, final = _failed(f"it could not be started ({error})"), False
    else:
        found = _last_line(done.stdout) if done.returncode == 0 else None
        verdict = found or _failed(f"it broke off, {ended_badly(done)}")
        # A busy or full GPU ends the process with a status, want of memory with signal 9, a kernel with another signal.
        final = found is not None or (done.returncode < 0 and done.returncode != -9)
    if final:
        keep(device, dtype, verdict)
    return verdict


def _last_line(output: str) -> Verdict | None:
    try:
        return _valid(json.loads(output.strip().splitlines()[-1]))
    except (ValueError, IndexError):
        return None


def _failed(reason: str) -> Verdict:
    return dict.fromkeys((SCAN, WINDOW_ATTENTION), reason)


def _kept(device: torch.device, dtype: torch.dtype) -> Verdict | None:
    """Return the verdict that an earlier process kept."""
    path, _ = _place(device, dtype)
    if path is None:
        return None
    try:
        return _valid(json.loads(path.read_text(encoding="utf-8"))["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _valid(found: object) -> Verdict | None:
    if isinstance(found, dict) and all(value is None or isinstance(value, str) for value in found.values()):
        return found
    return None


def _place(device: torch.device, dtype: torch.dtype) -> tuple[Path | None, dict[str, str]]:
    """Return the file of a verdict, and what it depends on."""
    identity = _identity(device) | {"dtype": _name(dtype)}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = cache_folder()
    return folder and folder / f"triton-{digest[:32]}.json", identity


def _identity(device: torch.device) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"torch": torch.__version__, "cuda": str(torch.version.cuda), "hip": str(torch.version.hip)}
    for package in ("triton", "mambairv2"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    for path in _DRIVERS:
        with suppress(OSError):
            found["driver"] = path.read_text(encoding="utf-8", errors="replace").strip()
    return found | {"device": _device_name(device), "kernels": _kernel_digest()}


def _device_name(device: torch.device) -> str:
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} {major}.{minor}"


def _kernel_digest() -> str:
    """Return a digest of the sources that the verdict is about: kernels, their launch, and the check."""
    digest = hashlib.sha256()
    for path in sorted([*_HERE.glob("triton*.py"), *_HERE.glob("*/triton*.py"), *_HERE.glob("self_check/*.py")]):
        with suppress(OSError):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
