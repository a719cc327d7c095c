"""--resize: how photographs get the shape of the input, from the command line and from Python."""

import pytest
from helpers.tiny import ROOT, YOLO, write_tiny

from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.errors import UserError
from spiking_yolo.models.load import load_ann

PUBLIC = ROOT.parent / "shared" / "zoo" / "yolov5n.pt"
needs_public = pytest.mark.skipif(not PUBLIC.is_file(), reason="yolov5n.pt (AGPL) is not at hand")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network whose cfg says letter_box=1, and photographs that are not square."""
    return write_tiny(
        tmp_path_factory.mktemp("tiny"), cfg=YOLO.replace("channels=3", "channels=3\nletter_box=1")
    )


def test_the_cfg_decides_until_the_option_does(weights):
    photo = read_image(weights.parent / "photos" / "a.png")
    spec = load_ann(weights).spec
    assert spec.resize == "letterbox"
    framed, placement = preprocess(photo, spec)
    # 80 x 48 pixels in 64 x 64: 38 rows, between grey ones.
    assert placement.resized == (64, 38) and (framed[:, :13] == 0.5).all()
    stretched = load_ann(weights, resize="stretch")
    assert preprocess(photo, stretched.spec)[1].resized == (64, 64)
    assert stretched.options == ("--resize", "stretch")
    assert load_ann(weights, resize="letterbox").spec == spec


@needs_public
def test_the_grey_is_that_of_the_family():
    assert load_ann(PUBLIC, resize="letterbox").spec.resize == "letterbox-114"
    assert load_ann("yolov1-voc", resize="letterbox").spec.resize == "letterbox"


def test_what_it_cannot_do(weights):
    with pytest.raises(UserError, match="stretch or letterbox"):
        load_ann(weights, resize="crop")
    with pytest.raises(UserError, match="leave --resize out"):
        load_ann("resnet20-cifar10", resize="stretch")
