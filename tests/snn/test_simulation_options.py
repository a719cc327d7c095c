"""How a network is computed, in bf16 and compiled: what it may change, what a person is told, and
the tools.
"""

import json
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from helpers.evaluating import make_scene
from helpers.methods import relative_error
from helpers.networks import ALL, TinyLeaky, images, make, spiking
from helpers.tiny import run_tool, write_tiny
from torch import Tensor

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.evaluate import EvalOptions
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.snn import plan as executing
from spiking_yolo.snn.fast import Backend
from spiking_yolo.snn.plan import Precision, SimulationOptions
from spiking_yolo.snn.synapses import LinearMap

T = 32
METHODS = ("p-norm", "msat-plus")
no_compiler = pytest.mark.skipif(
    bool(executing.missing()), reason=f"cannot compile: {executing.missing()}"
)


def outputs(converted: Converted, x: Tensor, **simulation) -> tuple[Tensor, ...]:
    return (
        converted.network(torch.float32, simulation=SimulationOptions(**simulation))
        .run(x, T)
        .snapshots[T]
        .outputs
    )


@pytest.fixture
def nothing_installed(monkeypatch):
    """A machine without a compiler and without instructions for bfloat16."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(executing, "fast_bf16", lambda: False)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("method", METHODS)
def test_bf16_is_close_to_float32_and_rounds(cls, method: str):
    x = images(8)
    converted = spiking(make(cls), x, get_recipe(method))
    a, b = outputs(converted, x.float()), outputs(converted, x.float(), precision="bf16")
    assert {o.dtype for o in b} == {torch.float32}
    assert 0 < relative_error(b, a) < 2e-2


def test_in_bf16_neurons_send_bf16_and_keep_float32():
    x = images(2).float()
    for method in ("p-norm", "msat", "signed-memory", "msat-plus"):
        network = spiking(make(TinyLeaky), images(2), get_recipe(method)).network(
            torch.float32, simulation=SimulationOptions("bf16")
        )
        network.run(x, 3)
        for layer in network.neurons.values():
            assert (layer.out.dtype, layer.count.dtype) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("method", METHODS)
def test_bf16_does_not_depend_on_the_batch(method: str):
    """Up to the order of a library's sums: in a step of 32 a current may round to the next bf16
    number.

    On images that it was not calibrated on: there the neuron that set a threshold would come just
    up to it.
    """
    x = images(3, seed=7).float()
    converted = spiking(make(TinyLeaky), images(3), get_recipe(method))
    together = outputs(converted, x, precision="bf16")
    for i in range(3):
        alone = outputs(converted, x[i : i + 1], precision="bf16")
        assert relative_error(alone, tuple(output[i : i + 1] for output in together)) < 1e-3


def test_bursts_of_spikes_are_exact_in_bf16():
    """Eight significant bits: whole numbers to 256 pass through weights of a power of two
    unchanged, 257 does not.
    """
    n = torch.arange(258.0).reshape(1, 1, 1, 258)
    sizes = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    for value in (1.0, 0.25, 8.0):
        weight, one = torch.full((1, 1, 1, 1), value), torch.ones(1)
        conv, linear = (
            LinearMap(weight, None, sizes, Backend()),
            LinearMap(weight[0, 0], None, {}, Backend()),
        )
        for synapse in (conv, linear):
            synapse.absorb(one, torch.bfloat16)
        for sent in (conv(n, False), linear(n[0, 0].T, False)):
            assert sent.dtype == torch.bfloat16
            got = sent.float().flatten()
            assert torch.equal(got[:257], n.flatten()[:257] * value) and got[257] == 256 * value


@no_compiler
def test_compiled_is_eager_but_for_rounding():
    """In float64, where rounding moves no spike. Takes seconds per method, twenty for MSAT."""
    x = images(2)
    for method in ("p-norm", "channel-norm", "signed-memory", "msat-plus", "msat"):
        converted = spiking(make(TinyLeaky), x, get_recipe(method))
        networks = (
            converted.network(simulation=SimulationOptions(compiled=compiled))
            for compiled in (False, True)
        )
        eager, compiled = (network.run(x, T).snapshots[T].outputs for network in networks)
        for a, b in zip(eager, compiled, strict=True):
            assert torch.allclose(a, b, rtol=1e-9), method


def test_without_a_compiler_nothing_is_compiled_and_a_note_says_so(nothing_installed):
    with pytest.warns(
        Notice, match=r"nothing is compiled: there is no C\+\+ compiler .* set CXX"
    ) as notes:
        assert executing.chosen("float32", True) == SimulationOptions()
    assert len(notes) == 1


def test_a_compiler_of_another_name_is_looked_for(nothing_installed, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("CXX", "my++")
    assert "'my++'" in executing.missing()
    monkeypatch.setattr("shutil.which", {"my++": "/bin/my++"}.get)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert "Python.h is not installed" in executing.missing()
    (tmp_path / "Python.h").touch()
    assert executing.missing() == "" and executing.chosen("float32", True) == SimulationOptions(
        compiled=True
    )


def test_bf16_that_is_no_faster_is_computed_with_a_note(nothing_installed):
    with pytest.warns(Notice, match="bf16 is no faster here"):
        assert executing.chosen("bf16") == SimulationOptions("bf16")
    assert executing.bf16_pays("cuda:1") and not executing.bf16_pays(torch.device("cpu"))


def test_a_detector_takes_both(tmp_path: Path, nothing_installed):
    weights = write_tiny(tmp_path)
    with pytest.warns(Notice, match="nothing is compiled"):
        detector = SpikingYOLO(weights, precision="bf16", compile=True)
    assert detector._network.simulation == SimulationOptions("bf16")
    again = SpikingYOLO(detector.converted, precision="bf16")
    photo = tmp_path / "photos" / "a.png"
    a, b = (d.detect(photo, T=4, conf=0.3) for d in (detector, again))
    assert len(a.xyxy) and torch.equal(a.xyxy, b.xyxy)
    with pytest.raises(UserError, match="precision must be one of float32, bf16, not 'half'"):
        SpikingYOLO(detector.converted, precision="half")  # pyright: ignore[reportArgumentType]


def test_the_choices_of_the_command_line_are_all_there_are():
    assert get_args(Precision) == get_args(get_type_hints(EvalOptions)["precision"])


@pytest.mark.parametrize(
    ("tool", "options"), [("detect", ["x.png"]), ("eval_coco", []), ("eval_classify", [])]
)
def test_an_unknown_precision_is_one_line(tool: str, options: list[str], capsys):
    assert run_tool(tool, *options, "--precision", "fp16") == 2
    error = capsys.readouterr().err
    assert error.startswith("error:") and error.count("\n") == 1 and "bf16" in error


def test_tools_that_do_not_simulate_do_not_offer_it(capsys):
    assert run_tool("export", "-o", "net.safetensors", "--precision", "bf16") == 2
    assert "--precision" in capsys.readouterr().err


@pytest.mark.filterwarnings("always::spiking_yolo.errors.Notice")
def test_an_evaluation_says_its_precision_and_is_resumed_with_no_other(
    tmp_path: Path, capsys, nothing_installed
):
    weights, _ = make_scene(tmp_path, 2)
    call = ["--data", tmp_path, "--weights", weights, "--T", 4, "--project", tmp_path / "runs"]
    assert run_tool("eval_coco", *call, "--precision", "bf16", "--compile") == 0
    assert ", bf16: mAP50 " in capsys.readouterr().out
    folder = tmp_path / "runs" / "exp"
    content = json.loads((folder / "results.json").read_text())
    assert (content["precision"], content["compiled"]) == ("bf16", False)
    (folder / "results.json").unlink()
    assert run_tool("eval_coco", *call, "--resume", "latest") == 2
    assert "precision=bf16, not float32" in capsys.readouterr().err
    assert run_tool("eval_coco", *call, "--resume", "latest", "--precision", "bf16") == 0


def test_a_comparison_says_its_precision(tmp_path: Path, capsys):
    weights, _ = make_scene(tmp_path, 2)
    call = ["--data", tmp_path, "--weights", weights, "--methods", "p-norm,msat-plus", "--T", 4]
    assert run_tool("eval", *call, "--project", tmp_path / "runs", "--precision", "bf16") == 0
    assert "2 images, bf16\n" in capsys.readouterr().out
    assert (
        json.loads((tmp_path / "runs" / "exp" / "comparison.json").read_text())["precision"]
        == "bf16"
    )
