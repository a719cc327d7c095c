"""The package as its users meet it: what it names, how light it is, and where it finds the files
that come with it.
"""

import importlib.util
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tiny import ROOT

import spiking_yolo
from spiking_yolo.data.sources import expand
from spiking_yolo.errors import UserError, pip_install, require
from spiking_yolo.io import files
from spiking_yolo.io.files import sha256

PUBLIC = ["Recipe", "Result", "SpikingYOLO", "UserError", "__version__"]
PUBLIC += ["count", "counting", "list_methods"]


def test_dir_lists_the_public_names():
    assert dir(spiking_yolo) == PUBLIC == spiking_yolo.__all__
    assert all(getattr(spiking_yolo, name) for name in PUBLIC)
    with pytest.raises(AttributeError, match="has no attribute 'SpikingYolo'"):
        _ = spiking_yolo.SpikingYolo  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_heavy(tmp_path):
    heavy = {"torch", "torchvision", "numpy", "cv2", "PIL", "matplotlib", "safetensors", "tqdm"}
    code = f"import sys; sys.path[0] = {str(ROOT)!r}; import spiking_yolo; dir(spiking_yolo)"
    code += "; spiking_yolo.UserError; print(*sys.modules)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "spiking_yolo.errors" in imported and not imported & heavy
    assert "spiking_yolo.api" not in imported


def test_the_files_of_the_checkout():
    assert files.shipped("weights") == ROOT / "weights"
    assert files.samples_folder() == ROOT / "data" / "samples"
    assert sha256(files.default_weights()) == files.YOLOV3_TINY
    assert (files.samples_folder() / "dog.jpg").is_file()
    assert files.sample_clip().stat().st_size < 1.5e6
    # The clip lies apart.
    assert all(Path(path).suffix == ".jpg" for path in expand([str(files.samples_folder())]))


@pytest.fixture
def installed(tmp_path):
    """io/files.py of a package in tmp_path/site, beside which nothing lies."""
    path = tmp_path / "site" / "spiking_yolo" / "io" / "files.py"
    path.parent.mkdir(parents=True)
    shutil.copy(files.__file__, path)
    spec = importlib.util.spec_from_file_location("installed_files", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_of_an_installed_package(installed):
    site, inside = installed.PACKAGE.parent, installed.PACKAGE / "assets"
    for folder in (
        site / "weights",
        site / "data" / "samples",
        inside / "weights",
        inside / "samples",
    ):
        # The first two belong to another package.
        folder.mkdir(parents=True)
    (inside / "weights" / "yolov3-tiny.weights").touch()
    assert installed.shipped("weights") == inside / "weights"
    assert installed.samples_folder() == inside / "samples"
    assert installed.default_weights() == inside / "weights" / "yolov3-tiny.weights"
    (site / "pyproject.toml").touch()  # now it is a checkout
    assert installed.shipped("weights") == site / "weights"
    assert installed.samples_folder() == site / "data" / "samples"


def test_a_missing_extra_is_one_line_with_the_command():
    assert require("math", "export") is math
    with pytest.raises(UserError, match=re.escape(pip_install("export"))):
        require("there_is_no_such_module", "export")
