"""Packages found in the tree, two folders beside the package that belong in it, the kernels in C,
and the README as an index shows it.
"""

import os
import platform
import re
import tomllib
import zlib
from pathlib import Path
from subprocess import run

from setuptools import Extension, find_namespace_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
ASSETS = {
    "spiking_yolo.assets.weights": "weights",
    "spiking_yolo.assets.samples": "data/samples",
    "spiking_yolo.assets.samples.clips": "data/samples/clips",
}
# Each folder with sources in C makes a library of its own.
FOLDERS = ("spiking_yolo/integer", "spiking_yolo/rate")
# Results are the same to the bit everywhere: no multiplication is fused with an addition.
FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
# More of them, such as those of .ci/sanitizers.
FLAGS += os.environ.get("SPIKING_YOLO_FLAGS", "").split()
# OpenMP is compiled but not linked: PyTorch brings GNU's, whose threads the kernels then share.
# Clang cannot call that one, and for libgomp makes serial code; GCC does not know the first
# spelling.
OPENMP = (["-fopenmp=libgomp"], ["-fopenmp"])
# The instructions that PyTorch checks for before it reports the capability of that name.
LEVELS = {"default": []}
if platform.machine() in ("x86_64", "AMD64"):
    # The tuning decides whether sums are fused multiply-adds: without one GCC avoids their chains.
    LEVELS["avx2"] = ["-mavx2", "-mfma", "-mtune=haswell"]
    LEVELS["avx512"] = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
    LEVELS["avx512"] += ["-mtune=skylake-avx512", "-mprefer-vector-width=512"]
    LEVELS["vnni"] = [*LEVELS["avx512"], "-mavx512vnni"]


class SharedLibraries(build_ext):
    """Builds libraries that ctypes loads, and which depend on no version of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", "/") + ".so"

    def build_extension(self, ext: Extension) -> None:
        ext.extra_compile_args += next(filter(self.knows, OPENMP), [])
        super().build_extension(ext)

    def knows(self, flags: list[str]) -> bool:
        """Whether the compiler takes the flags; tried on an empty file, without a word."""
        command = [*getattr(self.compiler, "compiler_so", ["cc"]), *flags]
        try:
            tried = run([*command, "-E", "-x", "c", os.devnull], capture_output=True)
        except OSError:
            return False
        return tried.returncode == 0


class AnyPython(bdist_wheel):
    """A wheel for one kind of processor and every Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def kernels(folder: str, level: str) -> Extension:
    """The kernels in C for processors of one level; the package also works without them."""
    sources = sorted((ROOT / folder).glob("*.[ch]"))
    # By which a library is known that was made of another state of the sources.
    checksum = zlib.crc32(b"".join(source.read_bytes() for source in sources)) >> 1
    names = [str(source.relative_to(ROOT)) for source in sources]
    # The vectors are those of the first folder.
    names += [f"{one}/neuron.h" for one in FOLDERS[:1] if one != folder]
    return Extension(
        f"{folder.replace('/', '.')}.kernels_{level}",
        [name for name in names if name.endswith(".c")],
        depends=["setup.py", *names],
        define_macros=[("SOURCE", str(checksum))],
        extra_compile_args=[*FLAGS, *LEVELS[level]],
        libraries=["m"],
        optional=True,
    )


def long_description() -> str:
    """The README with the addresses of its pictures and pages, which an index does not have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    tree = "main" if "dev" in version else f"v{version}"

    def absolute(match: re.Match[str]) -> str:
        before, target = match.groups()
        kind = "raw" if target.endswith((".png", ".jpg", ".webp", ".svg", ".mp4")) else "blob"
        return f"{before}{project['urls']['Repository']}/{kind}/{tree}/{target}"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    # Links and pictures of Markdown, and of HTML, that are files of the repository.
    return re.sub(r"""(\]\(|(?:src|href|poster)=")(?![a-z]+:|#)([^)\s"]+)""", absolute, text)


setup(
    long_description=long_description(),
    long_description_content_type="text/markdown",
    packages=[
        *find_namespace_packages(include=["spiking_yolo*"], exclude=["*.__pycache__*"]),
        *ASSETS,
    ],
    package_dir=ASSETS,
    ext_modules=[kernels(folder, level) for folder in FOLDERS for level in LEVELS],
    cmdclass={"build_ext": SharedLibraries, "bdist_wheel": AnyPython},
)
