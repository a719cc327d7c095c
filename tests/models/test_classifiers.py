from itertools import pairwise

import pytest
import torch
from helpers.pickles import Calls
from torch import nn

from spiking_yolo.errors import UserError
from spiking_yolo.models.classifiers import CLASSIFIERS, build, load_torchvision


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_shape_trace_and_gradients(name: str):
    model = build(name, 7)
    x = torch.rand(2, 3, 32, 32)
    traced = torch.fx.symbolic_trace(model.eval())
    assert model(x).shape == (2, 7)
    assert torch.equal(traced(x), model(x))
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_sizes_counted_by_hand():
    """3x3 kernels, two batch norm vectors each, one connected layer."""

    def conv(cin: int, cout: int, k: int = 3) -> int:
        return k * k * cin * cout + 2 * cout

    residual = conv(3, 16) + 6 * conv(16, 16) + conv(16, 32) + 5 * conv(32, 32)
    residual += conv(32, 64) + 5 * conv(64, 64)
    residual += conv(16, 32, 1) + conv(32, 64, 1) + 64 * 10 + 10
    assert parameters(build("resnet20", 10)) == residual
    plain = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    vgg = sum(conv(a, b) for a, b in pairwise(plain)) + 512 * 10 + 10
    assert parameters(build("vgg16", 10)) == vgg
    half = [3, *[c // 2 for c in plain[1:]]]
    thin = sum(conv(a, b) for a, b in pairwise(half)) + 256 * 10 + 10
    assert parameters(build("vgg_thin", 10)) == thin
    assert 2 * thin < 30e6


def test_resnet20_has_nineteen_activations_of_its_own():
    model = build("resnet20", 10, activation="qcfs", levels=4)
    assert len([m for m in model.modules() if type(m).__name__ == "QCFS"]) == 19


def test_torchvision_network_with_a_state_dict(tmp_path):
    source = build("torchvision:resnet18", 5)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    loaded, spec = load_torchvision(tmp_path / "w.pth", "torchvision:resnet18")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(source.eval()(x), loaded(x))
    assert spec.names == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert (spec.task, spec.height, spec.width, spec.resize) == ("classify", 224, 224, "crop")
    (tmp_path / "w.names").write_text("a\nb\nc\nd\ne\n")
    assert load_torchvision(tmp_path / "w.pth", "torchvision:resnet18")[1].names == tuple("abcde")


def test_mistakes_are_user_errors(tmp_path, capsys):
    for name, options in [("vgg99", {}), ("torchvision:nothing", {}), ("resnet20", {"depth": 3})]:
        with pytest.raises(UserError):
            build(name, 10, **options)
    torch.save({"x": Calls(print, "executed")}, tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(build("torchvision:resnet18", 3).state_dict(), tmp_path / "other.pth")
    for name in ("evil", "list", "other", "absent"):
        with pytest.raises(UserError) as error:
            load_torchvision(tmp_path / f"{name}.pth", "torchvision:vgg11")
        assert "\n" not in str(error.value) and name in str(error.value)
    assert "executed" not in capsys.readouterr().out
