"""Noise of a camera: its level against the one that was added, and what is sent of it."""

import math

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.data.noise import FAR, FRAMES, LEAST, SHARE, NoiseFilter, noise_level
from spiking_yolo.integer.video import Stream


def scene(side: int = 96) -> Tensor:
    """Without noise: a plane, [1, 3, side, side], from level 64 to 192."""
    line = torch.linspace(64, 192, side)
    planes = [x.expand(side, side) for x in (line[:, None], line, line.flip(0))]
    return torch.stack(planes)[None]


def frames(still: Tensor, count: int, levels: float | Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [still + levels * torch.randn(still.shape, generator=generator) for _ in range(count)]


def as_bytes(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).byte()


def test_the_level_is_that_of_the_noise_in_each_channel():
    added = torch.tensor([2.5, 5, 10])[None, :, None, None]
    three = map(as_bytes, frames(scene(), 3, added))
    assert torch.allclose(noise_level(*three), added, rtol=0.15)


def test_neither_what_moves_nor_padding_counts():
    """Half of the picture is other in the next frame, or of one colour in both."""
    for moves in (True, False):
        three = list(map(as_bytes, frames(scene(), 3, 5)))
        for k, x in enumerate(three):
            x[..., :48] = x[..., :48].roll(7 * k, -1) if moves else 128
        assert torch.allclose(noise_level(*three), torch.tensor(5.0), rtol=0.3)


def test_frames_without_noise_have_none():
    """What a codec left as it was, less than half a level of 8 bits, pictures that are flat or
    smaller than a square.
    """
    three = frames(scene(), 3, 5)
    three[0][..., :40] = three[1][..., :40]
    assert not noise_level(*three).any()
    assert not noise_level(*frames(scene(), 3, LEAST / 2)).any()
    flat = torch.full((2, 3, 96, 96), 128)
    assert not noise_level(flat, flat + 25, flat).any()
    assert not noise_level(*frames(scene(8), 3, 5)).any()


@pytest.mark.parametrize("noise", [0, 1.25])
def test_a_camera_that_moves_is_no_noise(noise: float):
    """One that follows waves of 20 pixels at 2 pixels per frame."""
    x = torch.linspace(0, 9.6 * math.pi, 96)
    waves = (64 * torch.sin(x)[:, None] * torch.sin(x) + 128).expand(1, 3, -1, -1)
    three = [waves.roll(2 * k, -1) for k in range(3)]
    noisy = [x + f - waves for x, f in zip(three, frames(waves, 3, noise), strict=True)]
    assert not noise_level(*noisy).any()


def test_clean_frames_are_sent_as_they_are():
    filter = NoiseFilter(as_bytes(scene()))
    for k in range(2 * FRAMES):
        frame = as_bytes(scene()).roll(k, -1)
        assert filter(frame) is frame


def known(x: Tensor, level: float) -> NoiseFilter:
    """One that knows the noise after its first frame."""
    filter = NoiseFilter(x)
    filter.level = torch.full((*x.shape[:2], 1, 1), level)
    filter._levels = [filter.level] * FRAMES
    return filter


def test_the_mean_by_hand():
    """A pixel that stays takes a quarter of each frame, one that moved all of it; both are sent
    when the mean has changed by more than half a deviation.
    """
    x, level = as_bytes(scene()), 5.0
    filter = known(x, level)
    near, far = int(FAR * level), int(FAR * level) + 1
    y = x.clone()
    y[..., 0, 0] += near
    y[:, 1, 0, 1] += far
    y[..., 0, 2] += 10
    sent = filter(y)
    assert sent.dtype == torch.uint8
    assert torch.equal(sent[..., 0, 0], x[..., 0, 0] + int(SHARE * near))
    assert torch.equal(sent[..., 0, 1], y[..., 0, 1])
    # A quarter of two deviations is half a deviation: not more than it.
    assert torch.equal(sent[..., 0, 2], x[..., 0, 2])
    assert torch.equal(sent[..., 1:, :], x[..., 1:, :])
    # The mean of the third pixel goes on, and is sent in the next frame.
    sent = filter(y)
    mean = x[..., 0, 2] + 10 * (1 - (1 - SHARE) ** 2)
    assert torch.equal(sent[..., 0, 2], as_bytes(mean))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_filter_is_the_rule_in_plain_arithmetic(channels: int):
    """Of two videos with noise of their own, one of which moves."""
    still = scene(32).expand(2, -1, -1, -1)[:, :channels]
    clip = [as_bytes(x) for x in frames(still, 12, torch.tensor([3.0, 6])[:, None, None, None])]
    clip = [torch.stack([x[0], x[1].roll(k // 4, -1)]) for k, x in enumerate(clip)]
    filter = known(clip[0], 4.0)
    filter.level[1] = 5.0
    mean = clip[0].float()
    sent = mean.clone()
    for x in clip[1:]:
        still = ((x - mean).abs() <= FAR * filter.level).all(1, keepdim=True)
        mean = torch.where(still, mean + SHARE * (x - mean), x)
        small = ((mean - sent).abs() <= 0.5 * filter.level).all(1, keepdim=True)
        sent = torch.where(small, sent, mean)
        assert torch.equal(filter(x), sent.round().byte())


def test_a_network_sends_less_of_a_noisy_video():
    """And the state starts with the frame: a cut measures anew."""
    recipe = get_recipe("signed-digits").with_settings({"calibration.steps": 2})
    still = scene(64)
    model, x = make(TinyLeaky), images(2, size=64)
    spent: dict[bool, float] = {}
    for denoise in (True, False):
        converted = spiking(model, x, recipe, {"encoding.denoise": denoise})
        stream = Stream(converted.network())
        runs = [stream(as_bytes(x)) for x in frames(still, 12, 12.0)]
        assert [run.fresh for run in runs] == [True] + [False] * 11
        spent[denoise] = sum(run.snapshots[1].operations.digits.item() for run in runs[4:])
    assert spent[True] < spent[False] / 2
