"""Whether a figure can be printed: everything inside its edges, no title over another, no letter below six points."""

from __future__ import annotations

import re
import zlib
from io import BytesIO
from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

COLUMN, PAGE = 3.3, 6.9  # inches
DPI = 200  # of the files
LEAST = 5.9  # points; mathematics sets its exponents a little smaller


def faults(figure: Figure) -> list[str]:
    """What would be wrong on paper; what is at most 5 inches wide goes into a column, the rest across a page."""
    width, height = figure.get_size_inches()
    scale = COLUMN / width if width <= 5 else min(1, PAGE / width)
    found = [f"{size:g} points" for size in sorted(sizes(figure)) if size * scale < LEAST]
    before = figure.dpi
    figure.set_dpi(DPI)  # letters are not equally wide at all resolutions
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    edges = {"left": box.x0, "lower": box.y0, "right": width - box.x1, "upper": height - box.y1}
    found += [f"beyond the {edge} edge by {-room:.2f} inches" for edge, room in edges.items() if room < -0.02]
    boxes = {text: text.get_window_extent() for text in titles(figure)}
    found += [
        f"{one.get_text()!r} over {other.get_text()!r}"
        for one, other in combinations(boxes, 2)
        if (both := Bbox.intersection(boxes[one], boxes[other])) is not None and both.width > 1 and both.height > 1
    ]
    figure.set_dpi(before)
    return found


def titles(figure: Figure) -> list[Text]:
    """What stands above the axes of a figure."""
    found = []
    for axes in figure.axes:
        heads = {axes.get_title("left"), axes.get_title("center")} - {""}
        found += [text for text in axes.get_children() if isinstance(text, Text) and text.get_text() in heads]
    return found


def sizes(figure: Figure) -> set[float]:
    """The sizes of all letters drawn, read from its PDF."""
    file = BytesIO()
    figure.savefig(file, format="pdf")
    found: set[float] = set()
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", file.getvalue(), re.S):
        try:
            drawn = zlib.decompressobj().decompress(stream)  # tolerates an end cut off
        except zlib.error:
            continue
        found |= {float(size) for size in re.findall(rb"/\S+ ([\d.]+) Tf", drawn)}
    return found
