"""The files that the page `try.md` runs: ONNX Runtime for the web, and the exported network.

They are made when the site is built and kept in build/try. MkDocs calls `on_files` by its name.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import shutil
import subprocess
import tarfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "try"
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
NETWORK = "sr-x2.onnx"
EXAMPLE = ROOT / "examples" / "coffee.png"
log = logging.getLogger("mkdocs.plugins.browser")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the runtime, the network and the example to the site."""
    try:
        made = [*runtime(), network()]
    except (OSError, ValueError, ImportError, subprocess.CalledProcessError) as error:
        log.info("try.html cannot run: %s", error)  # a line, and no warning: the rest of the site does not need it
        made = []
    for path in made:
        files.append(File.generated(config, f"site/try/{path.name}", abs_src_path=str(path)))
    files.append(File.generated(config, "site/try/example.png", content=example()))
    return files


def runtime() -> list[Path]:
    """Return the files of ONNX Runtime, fetched by npm once; raises ValueError for a package that is another one."""
    folder = KEPT / VERSION
    if not all((folder / name).exists() for name in RUNTIME):
        npm = shutil.which("npm")
        if npm is None:
            raise OSError(f"npm is not installed, which fetches {PACKAGE}")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True, capture_output=True)
        archive = folder / f"{PACKAGE}-{VERSION}.tgz"
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
            archive.unlink()
            raise ValueError(f"{PACKAGE} {VERSION} is not the package that was tested")
        with tarfile.open(archive) as package:
            for name in RUNTIME:
                source = package.extractfile(f"package/dist/{name}")
                assert source is not None
                (folder / name).write_bytes(source.read())
        archive.unlink()
    return [folder / name for name in RUNTIME]


def network() -> Path:
    """Return the exported network, made again when the weights or the exporting code change."""
    from mambairv2.weights.packaged import pretrained

    sources = [pretrained()["sr-x2"], *sorted((ROOT / "src" / "mambairv2" / "export").glob("*.py"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    target = KEPT / digest / NETWORK
    if not target.exists():
        from mambairv2.export import to_onnx

        to_onnx("sr-x2", target)
    return target


def example() -> bytes:
    """Return the example, small enough to be quick: the middle of the photograph."""
    import pyvips

    image = pyvips.Image.new_from_file(str(EXAMPLE))
    return bytes(image.crop(image.width // 2 - 100, image.height // 2 - 64, 200, 128).pngsave_buffer(strip=True))
