"""The laws of a small network, and the verb on a tiny detector."""

import csv
import math
from pathlib import Path

import pytest
import torch
from helpers.networks import Pooled, TinyLeaky, images, make, spiking
from helpers.tiny import files, run_tool, write_tiny

from spiking_yolo.apps.bound import laws, run
from spiking_yolo.apps.bound.figures import read_points
from spiking_yolo.apps.bound.laws import draw_positions, take_laws
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.differentiable import CompleteNetwork
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.sensitivity import relative_outputs
from spiking_yolo.errors import UserError
from spiking_yolo.options import silent


@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
def test_fine_thetas_are_predicted_as_they_run(cls: type[torch.nn.Module]):
    """All positions of small maps are drawn, poolings that send of their own included, so that only
    the inputs of later layers differ from the ANN's, and hardly where thetas are fine.
    """
    x = images(2)
    recipe = get_recipe("signed-digits")
    settings = {"calibration.kind": "none", "calibration.operations": 3.0}
    net = spiking(make(cls), x, recipe, settings)
    network = CompleteNetwork(net.graph, (8, 8), recipe.neuron.slack, True)
    laws = take_laws(network, relative_outputs, [x], 0, silent)
    allocations = laws.converted(network, net.neurons)
    operations, squared, relative = laws.totals(allocations)
    assert operations == pytest.approx(network(x, net.neurons)[1].mean().item(), rel=0.02)
    assert math.sqrt(squared) == pytest.approx(relative, rel=0.01)
    with torch.no_grad():
        outputs, _ = network(x, net.neurons)
        ann, _ = CompleteNetwork(net.graph, (8, 8))(x, fine(net))
    pairs = zip(relative_outputs(outputs, ann), relative_outputs(ann), strict=True)
    measured = sum((y - e).square().sum().item() for y, e in pairs) / len(x)
    assert measured == pytest.approx(squared, rel=0.6)


def fine(net: Converted) -> dict[str, dict[str, torch.Tensor]]:
    """Neurons that round to nothing that matters."""
    return {
        node.name: {"theta": torch.tensor([1e-6]).double(), "initial": torch.tensor(0.5)}
        for node in net.graph.activations
    }


def test_positions_and_what_is_around_them():
    maps = torch.arange(24.0).reshape(1, 2, 3, 4)
    cost = torch.arange(12.0).reshape(1, 1, 3, 4)
    drawn = draw_positions(maps, cost, 100, torch.Generator().manual_seed(0))
    order = drawn.values[:, 0].argsort()
    assert drawn.values[order].T.tolist() == [list(range(12)), list(range(12, 24))]
    assert drawn.cost[order, 0].tolist() == [12 * k for k in range(12)]
    left, above, corner = drawn.neighbours[:, order, 0]
    assert left[5:8].tolist() == [4, 5, 6] and above[5].item() == 1 and corner[5].item() == 0
    assert left[4].isnan() and above[3].isnan() and corner[4].isnan()
    vectors = draw_positions(torch.ones(3, 5), torch.ones(1, 5), 100, torch.Generator())
    assert vectors.values.shape == vectors.cost.shape == (3, 5) and vectors.neighbours.isnan().all()


def test_the_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    # Fewer prices and values, which takes less time.
    monkeypatch.setattr(run, "RATIO", 30.0)
    monkeypatch.setattr(laws, "ROWS", 64)
    monkeypatch.setattr(laws, "VALUES", 64)
    weights = write_tiny(tmp_path)
    points = tmp_path / "points.csv"
    points.write_text(
        "name,digits,ap50,low,high\nANN,,45,44,46\nequal slopes,.3,40,38,42\nequal slopes,.7,44,,\n"
    )
    words = ("--weights", weights, "--data", tmp_path / "photos", "--project", tmp_path / "runs")
    assert run_tool("bound", *words, "--operations", "0.4,0.6", "--points", points) == 0
    folder = tmp_path / "runs" / "exp"
    networks = {"equal-slopes-0.4.safetensors", "equal-slopes-0.6.safetensors"}
    assert files(folder) >= networks | {"bound.csv", "bound.png", "accuracy.png"}
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    with open(folder / "bound.csv") as file:
        rows = list(csv.DictReader(file))
    # At low prices 12 bits are not enough for channels of a random network that hardly vary.
    needed: dict[str, list[float]] = {}
    for row in rows:
        price, operations = float(row["price"]), float(row["operations"])
        if price > 1:
            value = float(row["squared_error"]) + price * operations
            needed.setdefault(row["code"], []).append(value)
    for code, bound in ((run.EQUAL, run.LEAST), (run.LEAST, run.ONE_EVENT)):
        for value, least in zip(needed[code], needed[bound], strict=True):
            assert least <= 1.02 * value
    network = Converted.load(folder / "equal-slopes-0.4.safetensors")
    assert network.recipe.name == "signed-digits"


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights = write_tiny(tmp_path)
    words = ("--weights", weights, "--data", tmp_path / "photos", "--project", tmp_path / "runs")
    assert run_tool("bound", *words, "--method", "p-norm") == 2
    assert "signed-digits" in capsys.readouterr().err
    table = tmp_path / "points.csv"
    for text in ("name,digits\nANN,1\n", "name,digits,ap50,low,high\nANN,x,1,,\n"):
        table.write_text(text)
        with pytest.raises(UserError, match="points"):
            read_points(table)
