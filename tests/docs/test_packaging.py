"""What an installation brings: the same dependencies everywhere, and a wheel with the default
network and samples.
"""

import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import spiking_yolo
from spiking_yolo.snn.fast.events import LEVELS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_are_the_dependencies_and_the_extras_of_the_design():
    extras = PROJECT["optional-dependencies"]
    wanted = {*PROJECT["dependencies"], *extras["ultralytics"], *extras["train"]}
    assert set((ROOT / "requirements.txt").read_text().split()) == wanted


def test_the_extra_all_holds_every_extra_for_users():
    extras = PROJECT["optional-dependencies"]
    named = extras["all"][0].removeprefix("spiking_yolo[").removesuffix("]").split(",")
    assert {*named, "all", "dev"} == set(extras)


def test_the_wheel_holds_the_package_the_default_network_and_the_samples(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in ("spiking_yolo", "weights", "data"):
        (tree / name).symlink_to(ROOT / name)
    build = [sys.executable, "setup.py", "-q", "build", "--build-lib", "lib"]
    subprocess.run(build, cwd=tree, check=True, capture_output=True)
    built = tree / "lib"
    package = built / "spiking_yolo"

    def files(folder: Path, pattern: str) -> set[Path]:
        return {path.relative_to(folder) for path in folder.rglob(pattern)}

    for pattern in ("*.py", "py.typed", "*.cfg", "*.yaml", "*.json", "*.html", "*.css", "*.js"):
        assert files(ROOT / "spiking_yolo", pattern) <= files(package, pattern)
    if shutil.which("cc"):
        levels = LEVELS if platform.machine() in ("x86_64", "AMD64") else LEVELS[:1]
        assert files(package, "*.so") == {
            Path("snn", "fast", f"events_{level}.so") for level in levels
        }
    samples = package / "assets" / "samples"
    assert files(samples, "*") == files(ROOT / "data" / "samples", "*")
    weights = package / "assets" / "weights"
    shipped = set()
    for pattern in ("yolov3-tiny.*", "yolo-fastest-1.1.*", "*.names"):
        shipped |= files(ROOT / "weights", pattern)
    assert files(weights, "*") == shipped
    assert sum(path.stat().st_size for path in built.rglob("*")) < 70e6
    shutil.rmtree(built)


def test_the_version_is_one_and_the_cited_one_was_released():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= set(cited)
    assert PROJECT["version"] == spiking_yolo.__version__
    released = f"## [{cited['version']}] - {cited['date-released']}"
    assert released in (ROOT / "CHANGELOG.md").read_text()
