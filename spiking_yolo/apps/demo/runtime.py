"""onnxruntime-web, which runs the network in a browser: from npm, from disk, or from the cache."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import TEMPORARY, cache_folder, regular

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# Of the package as it was published and tried.
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
# The program, which includes the code that starts its threads, and the compiled kernels.
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
# Seconds.
PATIENCE = 600


def runtime_folder(chosen: Path | None) -> Path:
    """A folder that holds FILES.

    Args:
        chosen: The .tgz of `npm pack`, which must be that of VERSION, or a folder with the files or
            with the unpacked package. None: the cache, filled by npm the first time.

    Raises:
        UserError: They are not there, the file is not the published one, or npm fails.
    """
    cached = cache_folder() / f"{PACKAGE}-{VERSION}"
    if chosen is None:
        if not cached.is_dir():
            _fetch(cached)
        return cached
    if not chosen.is_dir():
        _unpack(chosen, cached)
        return cached
    for folder in (chosen, chosen / "dist", chosen / "package" / "dist"):
        if all((folder / name).is_file() for name in FILES):
            return folder
    raise UserError(
        f"{chosen} does not hold {' and '.join(FILES)}: give the folder of {PACKAGE}, or the file"
        f" of `npm pack {PACKAGE}@{VERSION}`"
    )


def _fetch(target: Path) -> None:
    """Get the package by npm, which knows where, and unpack it."""
    wanted = f"{PACKAGE}@{VERSION}"
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"{PACKAGE} is not in the cache and npm is not installed: install Node.js, or run `npm"
            f" pack {wanted}` elsewhere and give its file by --runtime"
        )
    print(f"fetching {wanted} by npm", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        call = [npm, "pack", wanted, "--ignore-scripts", "--pack-destination", folder]
        try:
            # Its own folder, so that no settings of a project beside it apply.
            subprocess.run(
                call, cwd=folder, check=True, capture_output=True, text=True, timeout=PATIENCE
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise UserError(
                f"npm cannot fetch {wanted} ({said[0] if said else error}): check the network, or"
                " give the file of `npm pack` by --runtime"
            ) from error
        _unpack(Path(folder) / f"{PACKAGE}-{VERSION}.tgz", target)


def _unpack(archive: Path, target: Path) -> None:
    """Write the FILES of the published package, and of no other, into a new folder."""
    try:
        with open(regular(archive), "rb") as file:
            digest = hashlib.file_digest(file, "sha512").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {archive}: {error.strerror}; check --runtime") from error
    if digest != SHA512:
        raise UserError(
            f"{archive} is not {PACKAGE} {VERSION} as published (its SHA-512 differs): run `npm"
            f" pack {PACKAGE}@{VERSION}` again"
        )
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=TEMPORARY))
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for name in FILES:
                member = tar.extractfile(f"package/dist/{name}")
                assert member is not None
                with member, open(part / name, "wb") as out:
                    shutil.copyfileobj(member, out)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
