"""Colours of classes and curves, which can be told apart.

The first seven are those of M. Okabe and K. Ito, "Color Universal Design" (2008), for any colour vision; black is kept
for text and axes. The others were taken one by one, each as far from all before it as can be, by CIEDE2000, as it is
and as people with deuteranopia see it. tests/draw/test_boxes_drawn.py keeps them apart.
"""

Colour = tuple[int, int, int]
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (86, 180, 233),
    (240, 228, 66),
    (75, 75, 0),
    (135, 0, 90),
    (135, 255, 240),
    (255, 210, 195),
    (15, 0, 225),
    (180, 60, 60),
    (0, 90, 60),
    (150, 105, 255),
    (165, 165, 105),
    (225, 0, 180),
    (225, 195, 255),
    (0, 240, 120),
    (75, 60, 120),
    (150, 195, 165),
    (120, 105, 135),
    (150, 90, 105),
    (165, 120, 90),
)
RATE_COLOURS = "magma"  # perceptually uniform, and monotonic in grey print


def class_colour(class_id: int) -> Colour:
    """uint8 RGB of a class, the same in every picture and run. Beyond the palette only the first one's is not shared:
    in most data that is the class with the most objects.
    """
    if class_id < len(PALETTE):
        return PALETTE[class_id]
    return PALETTE[1 + (class_id - len(PALETTE)) % (len(PALETTE) - 1)]


def hexadecimal(colour: Colour) -> str:
    """#rrggbb, for matplotlib and web pages."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever contrasts more with the background."""
    return (0, 0, 0) if _luma(background) > 127 else (255, 255, 255)


def _luma(colour: Colour) -> float:
    """Brightness in 0..255, by Rec. 601."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


COLOURS = [hexadecimal(colour) for colour in PALETTE if _luma(colour) < 180]  # of curves, seen on white
