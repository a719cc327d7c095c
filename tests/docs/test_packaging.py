"""What an installation brings: the same dependencies everywhere, and a wheel with the default
network and samples.
"""

import platform
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import setuptools
import yaml

import spiking_yolo
from spiking_yolo.integer.library import LEVELS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_are_the_dependencies():
    extras = PROJECT["optional-dependencies"]
    wanted = {*PROJECT["dependencies"], *extras["ultralytics"], *extras["train"]}
    assert set((ROOT / "requirements.txt").read_text().split()) == wanted


def test_the_extra_all_holds_every_extra_for_users():
    extras = PROJECT["optional-dependencies"]
    named = extras["all"][0].removeprefix("spiking_yolo[").removesuffix("]").split(",")
    assert {*named, "all", "dev", "simulators"} == set(extras)


@pytest.mark.slow
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
        parts = ("integer", "rate")
        libraries = {Path(part, f"kernels_{level}.so") for part in parts for level in levels}
        assert files(package, "*.so") == libraries
    samples = package / "assets" / "samples"
    assert files(samples, "*") == files(ROOT / "data" / "samples", "*")
    weights = package / "assets" / "weights"
    shipped = set()
    for pattern in ("yolov3-tiny.*", "yolo-fastest-1.1.*", "*.names", "index.json"):
        shipped |= files(ROOT / "weights", pattern)
    assert files(weights, "*") == shipped
    assert {"yolov3-tiny.416", "yolo-fastest-1.1.320"} == {
        path.name.removesuffix(".calibrations.safetensors")
        for path in weights.glob("*.calibrations.safetensors")
    }
    assert PROJECT["scripts"] == {"spiking-yolo": "spiking_yolo.cli:main"}
    assert sum(path.stat().st_size for path in built.rglob("*")) < 70e6
    shutil.rmtree(built)


def test_the_version_and_the_address_are_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= set(cited)
    assert PROJECT["version"] == spiking_yolo.__version__ == cited["version"]
    # What is not released has no date, and its address stands in one place.
    released = "dev" not in PROJECT["version"]
    assert ("date-released" in cited) is ("repository-code" in cited) is released
    repository = PROJECT["urls"]["Repository"]
    assert all(address.startswith(repository) for address in PROJECT["urls"].values())
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "docs/tutorial.ipynb"):
        assert repository not in path.read_text()


CHANGES = "## [1.2.3] - 2026-12-01\n"
CITED = {"version": "1.2.3", "date-released": "2026-12-01", "repository-code": "https://a.org/x"}


def test_a_release_needs_one_version_and_address(tmp_path):
    problems = runpy.run_path(str(ROOT / ".ci" / "release.py"))["problems"]
    project = 'version = "1.2.3"\nurls = {Repository = "https://a.org/x"}\n'
    (tmp_path / "pyproject.toml").write_text(f"[project]\n{project}")
    for tag, address, cited, changes, said in (
        ("v1.2.3", "https://a.org/x", {}, CHANGES, []),
        ("v1.2.4", "https://a.org/x", {}, CHANGES, ["the tag is v1.2.4"]),
        ("v1.2.3", "https://a.org/fork", {}, CHANGES, ["this is https://a.org/fork"]),
        ("v1.2.3", "https://a.org/x", {"version": "1.2.2"}, CHANGES, ["version 1.2.2"]),
        ("v1.2.3", "https://a.org/x", {"repository-code": "b"}, CHANGES, ["repository-code b"]),
        ("v1.2.3", "https://a.org/x", {}, "## [1.2.3] - unreleased", ["CHANGELOG.md has no"]),
    ):
        (tmp_path / "CITATION.cff").write_text(yaml.safe_dump({**CITED, **cited}))
        (tmp_path / "CHANGELOG.md").write_text(changes)
        found = list(problems(tag, address, tmp_path))
        assert len(found) == len(said) and all(map(str.__contains__, found, said))


def test_the_long_description_has_addresses_of_its_own(monkeypatch):
    """Pictures and pages of the README, which an index does not have."""
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path(str(ROOT / "setup.py"))
    text, readme = given["long_description"], (ROOT / "README.md").read_text()
    assert given["long_description_content_type"] == "text/markdown"
    repository = PROJECT["urls"]["Repository"]
    tree = "main" if "dev" in PROJECT["version"] else f"v{PROJECT['version']}"
    for target in re.findall(r'(?:\]\(|(?:src|href)=")([^)\s"]+)', readme):
        if target.startswith(("https://", "#")):
            assert target in text
            continue
        picture = target.endswith((".jpg", ".png", ".webp", ".svg", ".mp4"))
        assert f"{repository}/{'raw' if picture else 'blob'}/{tree}/{target}" in text
        assert (ROOT / target.partition("#")[0]).exists()
    assert not re.findall(r'(?:\]\(|(?:src|href)=")(?!https://|#)', text)
    assert f"{repository}/raw/{tree}/docs/images/" in text
