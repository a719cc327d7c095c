"""Reading images, the letterbox, and the way back."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spiking_yolo.data.images import displayed_size, place, preprocess, read_image
from spiking_yolo.errors import UserError
from spiking_yolo.models.spec import Spec

LETTERBOX = Spec("detect", (), 416, 416)
STRETCH = Spec("detect", (), 448, 448, "stretch")
SAMPLES = Path(__file__).parents[2] / "data" / "samples"
sides = st.integers(1, 3000)


def photo(height: int = 12, width: int = 20) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 9, columns * 9, 200 - rows * 5], 2).astype(np.uint8)


def test_colours_are_rgb(tmp_path):
    for suffix in [".png", ".bmp", ".tif", ".ppm", ".webp"]:
        path = tmp_path / f"x{suffix}"
        Image.fromarray(photo()).save(path, **({"lossless": True} if suffix == ".webp" else {}))
        for source in (path, str(path), photo(), Image.fromarray(photo())):
            image = read_image(source)
            assert image.dtype == np.uint8 and np.array_equal(image, photo())


def test_exif_rotation_as_opencv_applies_it(tmp_path):
    for orientation in range(1, 9):
        path = tmp_path / "x.jpg"
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(photo(16, 32)).save(path, quality=95, exif=exif)
        expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
        image = read_image(path)
        assert image.shape == expected.shape == ((16, 32, 3) if orientation < 5 else (32, 16, 3))
        assert np.abs(image.astype(int) - expected).max() <= 4
    Image.fromarray(photo(16, 32)).save(tmp_path / "x.tif", exif=exif)
    assert displayed_size(tmp_path / "x.tif") == (16, 32)


def test_sixteen_bits(tmp_path):
    grey = np.array([[0, 255, 256, 40000, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "grey.tif"), grey)
    cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([grey, grey, grey // 2]))
    expected = [0, 0, 1, 156, 255]
    assert read_image(tmp_path / "grey.png")[0, :, 1].tolist() == expected
    assert read_image(tmp_path / "grey.tif")[0, :, 1].tolist() == expected
    colour = read_image(tmp_path / "colour.png")
    assert colour[0, :, 2].tolist() == expected and colour[0, :, 0].tolist() == [0, 0, 0, 78, 127]
    assert read_image(grey)[0, :, 0].tolist() == expected


def test_float_arrays_and_grey_arrays():
    assert read_image(np.array([[0.0, 0.5, 1.0]]))[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    assert read_image(np.ones((2, 2, 1), np.uint8)).shape == (2, 2, 3)


def test_unusable_arrays():
    for array in [
        np.zeros((0, 3, 3), np.uint8),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((2, 2), np.int64),
        np.full((2, 2), np.nan),
        np.full((2, 2), 200.0),
    ]:
        with pytest.raises(UserError):
            read_image(array)


def test_truncated_files_are_refused_at_every_length(tmp_path):
    for suffix in [".jpg", ".png"]:
        path = tmp_path / f"x{suffix}"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(path)
        content = path.read_bytes()
        for length in range(0, len(content) - 16, max(1, len(content) // 40)):
            path.write_bytes(content[:length])
            with pytest.raises(UserError, match=path.name) as caught:
                read_image(path)
            assert "\n" not in str(caught.value)
        with Image.open(path) as image, pytest.raises(UserError, match=path.name):
            read_image(image)


def test_files_that_are_not_images(tmp_path, monkeypatch):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name in ("text.jpg", "missing.jpg", "folder"):
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)
    Image.fromarray(photo()).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"cannot read .*bomb"):
        read_image(tmp_path / "bomb.png")


def test_mean_and_std():
    spec = Spec("classify", (), 4, 4, "stretch", mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    tensor, _ = preprocess(np.full((4, 4, 3), 255, np.uint8), spec)
    assert tensor.dtype == torch.uint8
    x = spec.normalised(tensor[None])
    assert x[0, :, 0, 0].tolist() == pytest.approx([1.8, 3.2, 0.35])
    assert x.is_contiguous() and spec.normalised(x) is x


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "letterbox-114"])
@pytest.mark.parametrize("size", [(416, 416), (320, 416), (192, 320)])
def test_bytes_are_those_of_pixels_as_fractions(resize, size):
    """That float32 fractions of 255 would be rounded to, with a grey of 0.5 or 114 / 255."""
    spec = Spec("detect", (), *size, resize)
    drawn = np.random.default_rng(0).integers(0, 256, (2 * size[0], 2 * size[1], 3), np.uint8)
    for image in (drawn, *map(read_image, sorted(SAMPLES.glob("*.jpg"))[:3])):
        x, placement = preprocess(image, spec)
        source = image if resize == "letterbox-114" else image.astype(np.float32)
        resized = cv2.resize(source, placement.resized, interpolation=cv2.INTER_LINEAR)
        grey = 114 / 255 if resize == "letterbox-114" else 0.5
        fractions = np.full((*size, 3), grey, np.float32)
        (left, top), (width, height) = placement.pad, placement.resized
        inside = (resized.astype(np.float32) / 255).clip(0, 1)
        fractions[top : top + height, left : left + width] = inside
        expected = (torch.from_numpy(fractions) * 255).round()
        assert torch.equal(x.movedim(0, -1), expected.byte())
        # As the engine reads them.
        assert x.movedim(0, -1).is_contiguous()


@given(sides, sides, sides, sides, st.sampled_from(["letterbox", "stretch"]))
def test_placement_lies_inside_and_keeps_the_ratio(width, height, net_width, net_height, resize):
    spec = Spec("detect", (), net_height, net_width, resize)
    placement = place(width, height, spec)
    (w, h), (left, top) = placement.resized, placement.pad
    assert 1 <= w <= net_width and 1 <= h <= net_height
    assert 0 <= net_width - w - 2 * left <= 1 and 0 <= net_height - h - 2 * top <= 1
    if resize == "letterbox":
        assert w == net_width or h == net_height
        assert h == max(1, height * w // width) or w == max(1, width * h // height)
    else:
        assert (w, h) == (net_width, net_height)


@given(
    sides,
    sides,
    st.sampled_from([LETTERBOX, STRETCH]),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_boxes_return_exactly(width, height, spec, corners):
    size = torch.tensor([width, height] * 2, dtype=torch.float64)
    box = torch.tensor(corners, dtype=torch.float64) * size
    placement = place(width, height, spec)
    pairs = (placement.image, placement.resized, placement.pad, placement.network)
    image, resized, pad, network = (box.new_tensor(pair * 2) for pair in pairs)
    inside = (box * (resized / image) + pad) / network
    # Width * (network / width) may round up.
    assert (inside >= 0).all() and (inside <= 1 + 1e-12).all()
    assert torch.allclose(placement.to_image(inside), box, rtol=0, atol=1e-8)


def test_a_photograph_that_is_postscript_reaches_no_other_program(tmp_path, monkeypatch):
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    (tmp_path / "x.jpg").write_bytes(text)
    monkeypatch.setattr("subprocess.check_call", lambda *args, **_: pytest.fail(f"it ran {args}"))
    with pytest.raises(UserError, match=r"cannot read .* as an image"):
        read_image(tmp_path / "x.jpg")
