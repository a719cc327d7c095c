"""A network without a calibration: thresholds from the pictures that it is about to see."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import files, run_tool, write_tiny
from helpers.video import noise, write_frames

from spiking_yolo.convert.calibration_file import calibrate_command
from spiking_yolo.convert.load import Converted, load
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.data.images import Picture, preprocessed
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import forward
from spiking_yolo.models.load import Ann, load_ann
from spiking_yolo.recipe import UNTRAINED_OPERATIONS, Recipe


@pytest.fixture
def ann(tmp_path: Path) -> Ann:
    return load_ann(write_tiny(tmp_path, calibrated=False))


@pytest.fixture
def pictures(ann: Ann) -> list[Picture]:
    return [Picture.file(str(ann.weights.parent / "photos" / name)) for name in ("a.png", "b.png")]


def converted(ann: Ann, pictures: list[Picture], recipe: Recipe, settings: Any = None) -> Converted:
    with pytest.warns(Notice, match="no calibration at 64 pixels.* from the first pictures"):
        return load(ann.weights, recipe, settings, photographs=iter(pictures))


def test_thresholds_are_the_largest_values_of_these_pictures(ann: Ann, pictures: list[Picture]):
    recipe = get_recipe("channel-norm").with_settings({"threshold.rule": "max"})
    network = converted(ann, pictures, recipe)
    largest: dict[str, torch.Tensor] = {}
    x = torch.cat(list(preprocessed(pictures, ann.spec)))
    forward(
        ann.graph, x, lambda node, before, after: largest.update({node.name: after.amax((0, 2, 3))})
    )
    for name, own in network.neurons.items():
        fired = largest[name] > 0
        assert torch.allclose(own["theta"][fired], largest[name][fired])


def test_the_default_is_near_the_ann_for_the_operations_it_aims_at(ann, pictures):
    network = converted(ann, pictures, get_recipe("signed-digits"))
    x = torch.cat(list(preprocessed(pictures, ann.spec)))
    shot = network.network().run(x, 1).snapshots[1]
    error = (shot.outputs[0] - forward(ann.graph, x)[0]).norm() / forward(ann.graph, x)[0].norm()
    assert error < 0.05
    assert abs(spent(network, x) - UNTRAINED_OPERATIONS) < 0.02
    # The usual ones.
    fewer = converted(ann, pictures, get_recipe("signed-digits"), {"calibration.operations": "0.6"})
    assert 0.58 < spent(fewer, x) < 0.62


def spent(network: Converted, x: torch.Tensor) -> float:
    """Digits per MAC in one step."""
    run = network.network().run(x, 1)
    return float(run.snapshots[1].operations.digits.mean()) / run.macs


def test_a_calibration_comes_first_and_pictures_are_not_looked_at(tmp_path: Path, recwarn: Any):
    weights = write_tiny(tmp_path)

    def never():
        raise AssertionError("looked at")
        yield

    assert load(weights, photographs=never()).recipe == get_recipe("signed-digits")
    assert not [w for w in recwarn if w.category is Notice]


def test_methods_that_run_for_minutes_want_their_own_calibration(ann: Ann, pictures: list[Picture]):
    with pytest.raises(UserError, match=r" calibrate .* --method msat"):
        load(ann, get_recipe("msat"), photographs=pictures)
    with pytest.warns(Notice, match=r"better: .*--images DIR --method channel-norm$"):
        load(ann, get_recipe("channel-norm"), photographs=pictures)
    trained = get_recipe("signed-digits").with_settings({"threshold.rule": "percentile"})
    for recipe, seen in ((trained, pictures), (get_recipe("p-norm"), [])):
        with pytest.raises(
            UserError, match=r"no (activation statistics|calibration)|has no calibration"
        ):
            load(ann, recipe, photographs=seen)
    # Of which files have made other recipes.
    for name, wanted in (("msat", "DIR --method mine"), ("p-norm", "DIR")):
        assert calibrate_command(ann, replace(get_recipe(name), name="mine")).endswith(wanted)
    with pytest.raises(UserError, match="elsewhere"):
        load(ann, get_recipe("p-norm"), statistics="elsewhere", photographs=pictures)


def test_broken_pictures_are_left_out(ann, pictures, tmp_path, recwarn):
    (tmp_path / "a.png").write_bytes(b"no image")  # called like a good one
    broken, recipe = Picture.file(str(tmp_path / "a.png")), get_recipe("signed-digits")
    with pytest.raises(UserError, match=r"a\.png"):
        load(ann, recipe, photographs=[broken])
    assert not [w for w in recwarn if w.category is Notice]
    with pytest.warns(Notice, match="from the first pictures"):
        both = load(ann, recipe, photographs=[broken, pictures[0]])
    with pytest.warns(Notice, match="from the first pictures"):
        one = load(ann, recipe, photographs=pictures[:1])
    assert all(
        torch.equal(both.neurons[n][k], v) for n, own in one.neurons.items() for k, v in own.items()
    )


def test_statistics_alone_are_not_enough_for_the_default(ann: Ann, pictures: list[Picture]):
    places = ("--weights", ann.weights, "--images", ann.weights.parent / "photos")
    assert run_tool("calibrate", *places, "--method", "channel-norm") == 0
    assert load(ann.weights, "channel-norm", photographs=pictures).recipe.name == "channel-norm"
    converted(ann, pictures, get_recipe("signed-digits"))


@pytest.mark.parametrize("source", ["photos", "photos/a.png", "clip.mp4"])
def test_detect_simply_works(ann: Ann, source: str, tmp_path: Path):
    folder = ann.weights.parent
    write_frames(folder / "clip.mp4", noise(3))
    before = files(folder)
    args = (folder / source, "--weights", ann.weights, "--project", tmp_path / "runs")
    with pytest.warns(Notice, match=f"--weights {ann.weights} --images DIR") as notices:
        assert run_tool("detect", *args) == 0
    assert len(notices) == 1
    # Nothing is kept beside them.
    assert {name for name in files(folder) if not name.startswith("runs")} == before


_HEAD = (
    "[convolutional]\nfilters=16\nsize=1\nactivation=linear\n"
    "[yolo]\nmask=0,1\nclasses=3\nnum=2\nanchors=9,9,3,3\n"
)


def test_any_number_of_threads_gives_the_same_thresholds(tmp_path: Path):
    """Threads round sums differently, which the search for thresholds must not amplify."""
    layer = "[convolutional]\nfilters=48\nsize=3\npad=1\nactivation=leaky\n"
    cfg = f"[net]\nwidth=64\nheight=64\n{layer * 4}{_HEAD}"
    wide = load_ann(write_tiny(tmp_path, cfg, calibrated=False))
    photographs = [Picture.file(str(tmp_path / "photos" / "a.png"))]
    networks: list[Converted] = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        networks.append(load(wide, get_recipe("signed-digits"), photographs=photographs))
    torch.set_num_threads(before)
    one, two = networks
    for name, own in one.neurons.items():
        assert own["theta"].dtype == torch.float32
        assert torch.equal(own["theta"], two.neurons[name]["theta"]), name
