"""Files in the format of CIFAR-100."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR100


def cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in CIFAR-100's format, whose MD5 sums take the place of the published ones."""
    base = root / CIFAR100.base_folder
    base.mkdir()
    pixels = np.arange(2 * 3072).reshape(2, 3072) % 251
    parts = {
        "train": {"data": pixels.astype(np.uint8), "fine_labels": [1, 0]},
        "test": {"data": pixels[:1].astype(np.uint8), "fine_labels": [1]},
        "meta": {"fine_label_names": ["apple", "bee"]},
    }
    sums = {}
    for name, part in parts.items():
        raw = pickle.dumps(part)
        (base / name).write_bytes(raw)
        sums[name] = hashlib.md5(raw).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})
