"""Colours: of classes, curves, cost models and rates."""

from collections.abc import Iterable

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
)
NO_TRACK_COLOUR: Colour = (150, 150, 150)


def class_colour(class_id: int) -> Colour:
    """RGB of a class, the same in every picture and run.

    Classes beyond the palette share colours, but not that of class 0, which has the most objects
    in most data sets.
    """
    if class_id < len(PALETTE):
        return PALETTE[class_id]
    return PALETTE[1 + (class_id - len(PALETTE)) % (len(PALETTE) - 1)]


def track_colour(track_id: int) -> Colour:
    """RGB of a track, by its number from 1; grey of a box in none. Colours come again after 12."""
    return NO_TRACK_COLOUR if track_id < 1 else PALETTE[(track_id - 1) % len(PALETTE)]


def hexadecimal(colour: Colour) -> str:
    """#rrggbb, for matplotlib and web pages."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever contrasts more with the background."""
    return (0, 0, 0) if _luma(background) > 127 else (255, 255, 255)


def _luma(colour: Colour) -> float:
    """Brightness in 0..255, by Rec. 601."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


# Of curves on white paper.
COLOURS = [hexadecimal(colour) for colour in PALETTE if _luma(colour) < 180]


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour of curves for each name, by its place: figures that are given the same names show
    each in the same colour.
    """
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
