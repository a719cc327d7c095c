"""The .cfg parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.errors import UserError
from spiking_yolo.models.darknet import Section, parse_cfg


def test_order_repetition_spaces_and_comments():
    text = "# note\r\n[net]\r\n hue = .1\r\n\r\n[convolutional]\nfilters = 16 \n;x=1\n[maxpool]\n"
    text += "[convolutional]\nanchors = 1, 2,\t 3,4\n"
    sections = parse_cfg(text)
    assert [s.kind for s in sections] == ["net", "convolutional", "maxpool", "convolutional"]
    assert [s.index for s in sections] == [-1, 0, 1, 2]
    assert sections[0].options == {"hue": ".1"}
    assert sections[1].options == {"filters": "16"}
    assert sections[3].numbers("anchors") == [1, 2, 3, 4]


def test_numbers_end_where_a_comment_begins():
    text = "[net]\n[convolutional]\nsize=3 # small\nmask=0,1 # the fine ones\nscale=1.5 # x\n"
    (_, layer) = parse_cfg(text)
    assert layer.integer("size") == 3 and layer.integers("mask") == [0, 1]
    assert layer.numbers("scale") == [1.5]


names = st.text("abcdefghijk_", min_size=1, max_size=8)


@given(
    st.lists(
        st.tuples(names, st.dictionaries(names, st.integers(-9, 999), max_size=4)),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_written_is_read(layers):
    text = "[net]\n" + "".join(
        f"[ {kind} ]\n" + "".join(f"{k} = {v}\n" for k, v in options.items())
        for kind, options in layers
    )
    found = [(s.kind, {k: int(v) for k, v in s.options.items()}) for s in parse_cfg(text)[1:]]
    assert found == layers


@pytest.mark.parametrize(
    "text",
    ["", "[net]\n", "[convolutional]\n[net]\n", "size=3\n[net]\n[convolutional]\n", "[net]\n[conv\n", "[net]\n[convolutional]\nx\n"],
)  # fmt: skip
def test_mistakes(text: str):
    with pytest.raises(ValueError, match=r"cfg|net"):
        parse_cfg(text)


@pytest.mark.parametrize("value", ["x", "1.5", "-1", "1,2"])
def test_bad_numbers_name_line_layer_and_key(value: str):
    section = Section("convolutional", 4, 17, {"size": value})
    with pytest.raises(UserError, match=r"line 17: layer 4 \[convolutional\]: size="):
        section.integer("size", 1)
