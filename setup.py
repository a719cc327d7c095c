"""What pyproject.toml cannot say: packages found in the tree, and two folders beside the package that belong in it."""

from setuptools import find_packages, setup

ASSETS = {"spiking_yolo.assets.weights": "weights", "spiking_yolo.assets.samples": "data/samples"}

setup(packages=[*find_packages(include=["spiking_yolo*"]), *ASSETS], package_dir=ASSETS)
