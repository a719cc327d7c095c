"""Accuracy, matching of classes, preprocessing and calibration of classifiers, each beside a
computation of its own.
"""

import json

import numpy as np
import pytest
import torch
from helpers.classifying import NAMES, SPEC, write_image
from helpers.tiny import run_tool
from PIL import Image
from torchvision import transforms

from spiking_yolo.apps.evaluate.scoring import ClassScorer, classification_classes
from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.images import Picture, preprocess
from spiking_yolo.decode.boxes import TopClasses, top_classes
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.bootstrap import AccuracyResampled, correct, draws
from spiking_yolo.models.classifiers import build, load_torchvision
from spiking_yolo.models.spec import Spec, numbered


def test_correct_by_hand():
    best, labels = np.array([[1, 2, 0], [0, 1, 2], [0, 1, 2], [2, 1, -1]]), np.array([2, 1, 2, 0])
    assert [correct(best, labels, k).tolist() for k in (1, 2, 5)] == [
        [False, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
    ]


def test_resampled_accuracy_is_that_of_the_images_drawn():
    rng = np.random.default_rng(0)
    hits = {"top1": rng.random(9) < 0.5, "top5": rng.random(9) < 0.8}
    weights = draws(9, 20, 1)
    expected = [[np.repeat(hit, w).mean() for hit in hits.values()] for w in weights]
    resampled = AccuracyResampled(hits)
    assert resampled.images == 9 and np.allclose(resampled.score(weights), expected)


def labelled(classes, labels) -> LabelledSet:
    pictures = [
        Picture(f"{i}.png", np.full((16, 16, 3), 10 * i, np.uint8)) for i in range(len(labels))
    ]
    return LabelledSet("data", tuple(classes), pictures, np.array(labels))


def test_scorer_by_hand():
    best = [
        TopClasses(torch.tensor(ids), torch.zeros(3))
        for ids in ([2, 0, 1], [1, 0, 2], [-1, 0, 2], [0, -1, 1])
    ]
    spec = Spec("classify", tuple("abcd"), 8, 8)
    scored = ClassScorer(labelled("abcd", [2, 0, 0, 2]), spec).score([], [best])
    assert scored.figures == {"top1": 0.25, "top5": 0.75}
    assert scored.per_class == {"a": 0.0, "c": 0.5} and scored.objects == {"a": 2, "c": 2}


def test_predictions_are_classes_of_the_dataset():
    data = labelled(("fox", "ant", "bee"), [0, 1])
    task = ClassScorer(data, SPEC)
    # ant, bee, cow, dog, elk, fox, gnu.
    logits = torch.tensor([[0.0, 1, 5, 2, 0, 4, 0], [9.0, 0, 0, 0, 0, 0, 0]])
    best = top_classes(logits)
    first, second = (row["class_id"] for row in task.rows([best]))
    assert first == [-1, 0, -1, 2, 1]
    assert second == [1, 2, -1, -1, -1]


def test_classes_are_matched_by_name_or_by_number():
    data = labelled(("b", "a"), [0])
    assert classification_classes(data, ("a", "b", "c")) == (1, 0, -1)
    assert classification_classes(data, numbered(2)) == (0, 1)
    for names in (("a", "c"), numbered(3)):
        with pytest.raises(UserError, match=r"no class 'b'.*--names"):
            classification_classes(data, names)
    with pytest.raises(UserError, match="no images"):
        ClassScorer(labelled(NAMES, []), SPEC)


def test_crop_is_torchvisions():
    for size in [(300, 200), (225, 401), (224, 224), (60, 90)]:
        image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        steps = [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
        spec = Spec("classify", ("a",), 224, 224, "crop", mean=tuple(mean), std=tuple(std))
        x, placement = preprocess(np.asarray(image), spec)
        torch.testing.assert_close(x, transforms.Compose(steps)(image), rtol=0, atol=1e-6)
        pad, resized = np.array(placement.pad), np.array(placement.resized)
        whole = placement.to_image(torch.tensor([*pad, *(pad + resized)]) / 224)
        assert whole.tolist() == pytest.approx([0, 0, size[1], size[0]], abs=1e-3)


def test_imagenet_folders_and_weights_of_torchvision(tmp_path, capsys):
    """Photographs of several sizes under val/WNID, a state dict, and torchvision's own
    preprocessing beside it.
    """
    classes = ("n01440764", "n01443537", "n01484850")
    for k, name in enumerate(classes):
        for split, count in (("train", 4), ("val", 2)):
            for i in range(count):
                write_image(
                    tmp_path / split / name / f"{i}.JPEG", 10 * k + i, (70 + 9 * k + i, 80 - i)
                )
    torch.manual_seed(2)
    model = build("torchvision:resnet18", 3).eval()
    weights = tmp_path / "resnet18.pth"
    torch.save(model.state_dict(), weights)
    network = ("--weights", weights, "--cfg", "torchvision:resnet18", "--imgsz", 64)
    network = (*network, "--method", "p-norm")
    call = ("--data", tmp_path, *network, "--T", 2, "--project", tmp_path / "runs")
    assert run_tool("eval_classify", *call) == 2
    assert "--cfg torchvision:resnet18 --imgsz 64 --images DIR" in capsys.readouterr().err
    assert run_tool("calibrate", "--images", tmp_path, *network) == 0
    assert run_tool("eval_classify", *call) == 0
    spec = load_torchvision(weights, "torchvision:resnet18")[1]
    steps = [transforms.Resize(73), transforms.CenterCrop(64), transforms.ToTensor()]
    prepare = transforms.Compose([*steps, transforms.Normalize(spec.mean, spec.std)])
    rows = json.loads((tmp_path / "runs" / "exp" / "predictions_ann.json").read_text())
    for row in rows:
        with torch.no_grad():
            expected = model(prepare(Image.open(tmp_path / "val" / row["image"]))[None])[0].softmax(
                0
            )
        assert row["confidence"] == pytest.approx(expected[row["class_id"]].tolist(), abs=1e-5)
    assert [row["label"] for row in rows] == [0, 0, 1, 1, 2, 2]
