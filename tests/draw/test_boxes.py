"""Boxes and labels stay where they belong, whatever the size of the picture."""

import math
from dataclasses import replace

import numpy as np
import torch
from helpers.drawing import NAMES, changed, detections, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.draw.boxes import draw_detections
from spiking_yolo.draw.colours import NO_TRACK_COLOUR, PALETTE, class_colour, track_colour


def test_a_frame_covers_its_box_and_nothing_outside():
    drawn = draw_detections(picture(200, 300), detections((50.2, 60.7, 250, 180, 0.9, 1)), NAMES)
    mask = changed(drawn)
    assert mask[60:180, 50].all() and mask[60:180, 249].all()
    assert mask[60, 50:250].all() and mask[179, 50:250].all()
    assert (drawn[120, 50] == class_colour(1)).all()
    assert not mask[:, :50].any() and not mask[:, 250:].any() and not mask[180:].any()
    assert not mask[100:170, 60:240].any(), "the object itself must stay visible"
    assert not mask[:30].any(), "only the label may stand above the box"


def test_tracks_have_colours_and_numbers():
    boxes = detections((20, 60, 80, 150, 0.9, 1), (120, 60, 180, 150, 0.8, 1))
    drawn = draw_detections(picture(200, 200), replace(boxes, track_id=torch.tensor([3, 8])), NAMES)
    assert (drawn[100, 20] == track_colour(3)).all() and (drawn[100, 120] == track_colour(8)).all()
    boxes_of_one = replace(boxes, track_id=torch.tensor([-1, 8]))
    alone = draw_detections(picture(200, 200), boxes_of_one, NAMES)
    assert (alone[100, 20] == NO_TRACK_COLOUR).all()
    # The second box is as it was, the first one's label lacks the number.
    assert (alone[:, 110:] == drawn[:, 110:]).all()
    label = changed(draw_detections(picture(200, 200), boxes, NAMES))[:60].any(0).sum()
    assert changed(drawn)[:60].any(0).sum() > label == changed(alone)[:60, :110].any(0).sum() * 2
    assert track_colour(1) == PALETTE[0] == track_colour(1 + len(PALETTE))


def test_labels_make_way_for_each_other():
    found = detections((50, 60, 200, 160, 0.9, 0), (50, 62, 200, 160, 0.8, 1))
    both = draw_detections(picture(200, 300), found, NAMES)
    for k in range(2):
        alone = draw_detections(picture(200, 300), found.take(torch.tensor([k])), NAMES)
        label = (alone == class_colour(k)).all(2)[:60].sum()
        assert (both == class_colour(k)).all(2)[:60].sum() == label > 0


def test_boxes_that_cannot_be_seen_are_skipped():
    for box in ((math.nan, 0, 9, 9), (0, 0, math.inf, 9), (30, 30, 30, 40), (-9, -9, -1, -1)):
        image = picture(50, 50)
        assert (draw_detections(image, detections((*box, 0.5, 0)), NAMES) == image).all()


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    boxes=st.lists(st.tuples(*[st.floats(-200, 200, width=32)] * 4), max_size=6),
)
def test_any_size_and_any_box(height, width, boxes):
    found = detections(*[(*box, 0.5, i % 3) for i, box in enumerate(boxes)])
    drawn = draw_detections(picture(height, width), found, NAMES)
    assert drawn.shape == (height, width, 3) and drawn.dtype == np.uint8
