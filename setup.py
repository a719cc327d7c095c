"""Packages found in the tree, and two folders beside the package that belong in it."""

import platform

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ASSETS = {"spiking_yolo.assets.weights": "weights", "spiking_yolo.assets.samples": "data/samples"}
FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
# OpenMP is compiled but not linked: PyTorch brings GNU's, whose threads the kernels then share.
# Clang cannot call that one, and for libgomp makes serial code; GCC does not know the first
# spelling.
OPENMP = (["-fopenmp=libgomp"], ["-fopenmp"], [])
# The instructions that PyTorch checks for before it reports the capability of that name.
LEVELS = {"default": []}
if platform.machine() in ("x86_64", "AMD64"):
    # The tuning decides whether sums are fused multiply-adds: without one GCC avoids their chains.
    LEVELS["avx2"] = ["-mavx2", "-mfma", "-mtune=haswell"]
    LEVELS["avx512"] = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
    LEVELS["avx512"] += ["-mtune=skylake-avx512", "-mprefer-vector-width=512"]


class SharedLibraries(build_ext):
    """Builds libraries that ctypes loads, and which depend on no version of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", "/") + ".so"

    def build_extension(self, ext: Extension) -> None:
        flags = ext.extra_compile_args
        for openmp in OPENMP:
            ext.extra_compile_args = [*flags, *openmp]
            try:
                return super().build_extension(ext)
            except CompileError:
                if not openmp:
                    raise


class AnyPython(bdist_wheel):
    """A wheel for one kind of processor and every Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def kernels(level: str) -> Extension:
    """events.c for processors of one level; the package also works without it."""
    return Extension(
        f"spiking_yolo.snn.fast.events_{level}",
        ["spiking_yolo/snn/fast/events.c"],
        depends=["setup.py"],
        extra_compile_args=[*FLAGS, *LEVELS[level]],
        libraries=["m"],
        optional=True,
    )


setup(
    packages=[*find_packages(include=["spiking_yolo*"]), *ASSETS],
    package_dir=ASSETS,
    ext_modules=[kernels(level) for level in LEVELS],
    cmdclass={"build_ext": SharedLibraries, "bdist_wheel": AnyPython},
)
