"""The verb analyze: its files, its table, the error of the output, and the figures of a layer."""

import csv
import math
from pathlib import Path

import pytest
import torch
from helpers.tiny import run_tool

from spiking_yolo.apps.analyze.run import ERROR_PARTS, Chain, LayerTotals, analyze
from spiking_yolo.convert.load import load
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.graph import forward


def call(weights: Path, folder: Path, *args: object) -> int:
    common = ("--weights", weights, "--T", 8, "--project", folder)
    data = () if "--data" in args else ("--data", weights.parent / "photos")
    return run_tool("analyze", *common, *data, *args)


def test_files_and_table(weights, tmp_path, capsys):
    assert call(weights, tmp_path, "--method", "p-norm") == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.removesuffix(f"{tmp_path / 'exp'}\n").splitlines())) <= 100
    assert "pool_first=false" in printed and "The output's relative error" in printed
    with open(tmp_path / "exp" / "layers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        shares = sum(float(v) for k, v in row.items() if k.startswith("share "))
        assert shares == pytest.approx(float(row["error"]))


def test_output_error_is_that_of_the_tensors(weights):
    converted = load(weights, "p-norm", {"neuron.pool_first": "false"})
    paths = [str(weights.parent / "photos" / f"{name}.png") for name in "ab"]
    ticks = []
    analysis = analyze(converted, paths, 6, progress=lambda *done: ticks.append(done))
    assert ticks == [("images", 1, 2), ("images", 2, 2)]
    errors = []
    for path in paths:
        x = preprocess(read_image(path), converted.spec)[0][None]
        snn = converted.network().run(x, 6).snapshots[6].outputs[0]
        ann = forward(converted.graph, converted.spec.normalised(x))[0]
        errors.append(float((snn - ann).norm() / ann.norm()))
    assert errors[0] != errors[1]
    # As in an evaluation.
    assert analysis.output_error == pytest.approx(sum(errors) / 2, rel=1e-5)
    analysis.layers[0].spikes = 2e9
    assert max(map(len, analysis.text().splitlines())) <= 100


def test_mistakes(weights, tmp_path, capsys):
    for args, word in [
        (("--limit", "0"), "--limit"),
        (("--method", "nonsense"), "unknown method"),
        (("--method", "msat"), "calibrate"),
        (("--method", "css"), "steps"),
        (("--split", "val2017"), "--split"),
        (("--device", "abacus"), "abacus"),
        (("--data", "absent.jpg"), "absent.jpg"),
    ]:
        assert call(weights, tmp_path, *args) == 2
        said = capsys.readouterr().err.splitlines()
        assert word in said[-1] and said[-1].startswith("error: ")
        assert not (tmp_path / "exp").exists()


def random_chain(seed, shape=(1, 3, 4, 4)) -> Chain:
    g = torch.Generator().manual_seed(seed)
    return Chain(*(torch.rand(shape, generator=g, dtype=torch.float64) for _ in range(6)))


def test_norms_and_shares_over_images():
    chains = [random_chain(1), random_chain(2)]
    totals = LayerTotals("layers_3_act")
    for links in chains:
        totals.add(links, 12.0, 0.25)
    together = [
        torch.cat(tensors) for tensors in zip(*(vars(c).values() for c in chains), strict=True)
    ]
    ann, clipped, grid, ideal, even, snn = together
    assert totals.relative(totals.error) == pytest.approx(float((snn - ann).norm() / ann.norm()))
    row = totals.row()
    for name, part in zip(
        ERROR_PARTS,
        (clipped - ann, grid - clipped, ideal - grid, even - ideal, snn - even),
        strict=True,
    ):
        assert row[name] == pytest.approx(float(part.norm() / ann.norm()))
        share = (part * (snn - ann)).sum() / (snn - ann).norm() / ann.norm()
        assert totals.shares()[name] == pytest.approx(float(share))
    assert sum(totals.shares().values()) == pytest.approx(totals.relative(totals.error))
    assert row["spikes"] == 12.0 and row["rate"] == 0.25
    assert row["share clipping"] == totals.shares()["clipping"]


def test_nothing_to_compare_with_is_nan():
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    totals = LayerTotals("x")
    totals.add(Chain(zero, zero, zero, zero, zero, zero + 1), 0.0, 0.0)
    row = totals.row()
    assert math.isnan(row["error"]) and math.isnan(row["clipping"])
