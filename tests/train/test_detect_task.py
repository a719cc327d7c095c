"""Training a detector on photographs that the test draws."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from spiking_yolo.data.datasets import DetectionSet, Sample
from spiking_yolo.models.load import load_checkpoint
from spiking_yolo.models.trainable import yolov1_spec
from spiking_yolo.train import TrainOptions
from spiking_yolo.train.run import train
from spiking_yolo.train.tasks import DetectTask

COLOURS = {0: (255, 0, 0), 1: (0, 255, 0)}


def draw(folder: Path, count: int, side: int = 64) -> DetectionSet:
    """Photos with one red or green rectangle on grey."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(count):
        image = np.full((side, side, 3), 120, np.uint8)
        w, h = rng.integers(side // 3, side // 2, 2)
        x, y = rng.integers(0, side - w), rng.integers(0, side - h)
        label = i % 2
        image[y : y + h, x : x + w] = COLOURS[label]
        path = folder / f"{i:03}.png"
        cv2.imwrite(str(path), image[..., ::-1])
        samples.append(Sample.of(i, path, (side, side), [[x, y, x + w, y + h]], [label]))
    return DetectionSet("drawn", ("red", "green"), samples, [])


def make_task(data: DetectionSet, size: tuple[int, int] = (64, 64)) -> DetectTask:
    return DetectTask(data, data, yolov1_spec(data.classes, size))


@pytest.mark.parametrize("size", [(96, 96), (64, 128)])
def test_boxes_follow_their_objects(tmp_path, size):
    """After any augmentation the middle of a box still has the colour of its class, and boxes stay
    inside.
    """
    photos = make_task(draw(tmp_path, 12), size)
    total, limits = 0, torch.tensor([size[1], size[0]])
    for i in range(60):
        photos.epoch = i // 12
        image, boxes, labels = photos[i % 12]
        assert image.shape == (3, *size) and image.dtype == torch.uint8
        assert ((boxes >= 0) & (boxes <= 1)).all()
        total += len(boxes)
        for box, label in zip(boxes, labels, strict=True):
            x, y = ((box[:2] + box[2:]) / 2 * limits).long().minimum(limits - 1)
            red, green, _ = image[:, y, x].int()
            assert (red > green) == (label == 0)
    assert total > 40


@pytest.mark.slow
def test_own_classes_from_a_data_yaml(tmp_path):
    """Any number of classes; a second training starts from the first one's checkpoint, with other
    classes still and on a rectangle.
    """
    for split in ("train", "val"):
        images, labels = tmp_path / "images" / split, tmp_path / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for sample in draw(images, 4).samples:
            x1, y1, x2, y2 = sample.boxes[0] / 64
            line = f"{sample.labels[0]} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}"
            (labels / f"{sample.path.stem}.txt").write_text(line)
    weights: list[torch.Tensor] = []
    init = None
    for names, imgsz in ((["cup", "spoon"], (64, 64)), (["cup", "spoon", "fork"], (64, 96))):
        data = tmp_path / "data.yaml"
        data.write_text(f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames: {names}\n")
        options = TrainOptions(
            task="detect",
            model="yolov1",
            data=data,
            project=tmp_path / "runs",
            name=str(len(names)),
            epochs=1,
            imgsz=imgsz,
            batch=4,
            lr=1e-9,
            init=init,
        )
        trained = train(options)
        assert trained is not None
        row = trained.best
        init = tmp_path / "runs" / str(len(names)) / "last.safetensors"
        model, spec = load_checkpoint(init)
        assert spec.names == tuple(names) and spec.heads[0].classes == len(names)
        size = [spec.height, spec.width]
        assert size == list(imgsz)
        assert np.isfinite(row["loss"]) and 0 <= row["mAP50"] <= 100
        weights.append(model.state_dict()["backbone.0.0.weight"])
    torch.testing.assert_close(weights[0], weights[1], atol=1e-3, rtol=0)
