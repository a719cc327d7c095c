"""A palette that people with any colour vision can tell apart.

Source: M. Okabe and K. Ito, "Color Universal Design" (2008); black is kept for text and axes.
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
)
COLOURS = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in PALETTE]  # the same, for matplotlib
RATE_COLOURS = "magma"  # perceptually uniform, and monotonic in grey print


def class_colour(class_id: int) -> Colour:
    """uint8 RGB of a class, the same in every picture and run."""
    return PALETTE[class_id % len(PALETTE)]


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever contrasts more with the background (Rec. 601 luma)."""
    r, g, b = background
    return (0, 0, 0) if 0.299 * r + 0.587 * g + 0.114 * b > 127 else (255, 255, 255)
