"""What widgets show, as HTML: thumbnails, cells in a grid, charts. Pure functions, and no resource from outside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from ..plots import BLACK, GREEN, ORANGE, VERMILION

DASHES = ("", "4 3", "1 3")
STROKE = 'stroke="currentColor" stroke-width="2" stroke-dasharray="{}"'  # of a mark, with one of DASHES
THUMB_WIDTH, THUMB_HEIGHT = 64, 128  # pixels of a thumbnail
KEPT = 4096  # thumbnails in memory at most, some 4 kB each

SIGNS = {True: "✓ ", False: "✗ ", None: ""}  # whether an image fits what was asked; None: nobody knows
FRAMES = {True: "reidkit-hit", False: "reidkit-miss", None: "reidkit-plain"}  # CSS classes, as SIGNS

PICK = Path(__file__).with_name("pick.js").read_text().strip()
STYLE = f"""<style>
.reidkit {{ --reidkit-width: {THUMB_WIDTH}px; --reidkit-height: {THUMB_HEIGHT}px; --reidkit-query: {BLACK};
--reidkit-hit: {GREEN}; --reidkit-miss: {VERMILION}; --reidkit-note: {ORANGE}; }}
{Path(__file__).with_name("style.css").read_text()}</style>"""


def picture_or_cross(path: str) -> np.ndarray:
    """An image file as (THUMB_HEIGHT, THUMB_WIDTH, 3) uint8; grey with a cross where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * THUMB_WIDTH, 2 * THUMB_HEIGHT))  # a large JPEG need not be decoded in full
            return np.asarray(image.convert("RGB").resize((THUMB_WIDTH, THUMB_HEIGHT)))
    except Exception:  # Pillow raises many kinds for broken files; one bad image must not stop the others
        blank = Image.new("RGB", (THUMB_WIDTH, THUMB_HEIGHT), "#bbbbbb")
        draw = ImageDraw.Draw(blank)
        draw.line((0, 0, THUMB_WIDTH, THUMB_HEIGHT), "#777777", 2)
        draw.line((0, THUMB_HEIGHT, THUMB_WIDTH, 0), "#777777", 2)
        return np.asarray(blank)


def overlaid(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 under a map (H', W') from 0 to 1: the higher, the yellower and the less see-through."""
    size = image.shape[1], image.shape[0]
    grown = np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize(size, Image.Resampling.BILINEAR)).clip(0, 1)
    colour = 255 * matplotlib.colormaps["inferno"](grown)[..., :3]
    opaque = 0.25 + 0.5 * grown[..., None]
    return ((1 - opaque) * image + opaque * colour).astype(np.uint8)


def data_uri(image: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 as a JPEG inside an address."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


@lru_cache(KEPT)
def thumbnail(path: str) -> str:
    """`data_uri` of an image file, encoded once."""
    return data_uri(picture_or_cross(path))


def cell(source: str, captions: Sequence[str], *, kind: str = "", pick: tuple[str, int] | None = None) -> str:
    """One picture with lines below it.

    Args:
        source: a data URI.
        captions: plain text, a line each.
        kind: CSS classes.
        pick: (name, value): a click, or the return key, puts the value into the number field of the class reidkit-NAME.
            None: nothing happens.
    """
    lines = "<br>".join(escape(line) for line in captions)
    inside = f'<img src="{source}" alt="{escape(" ".join(captions))}">{lines}'
    if pick is None:
        return f'<span class="{kind}">{inside}</span>'
    name, value = pick
    click = PICK.replace("NAME", name).replace("VALUE", str(value))
    return f'<button type="button" class="{kind}" onclick="{click}">{inside}</button>'


def captions(fits: bool | None, near: str, image: Any) -> list[str]:
    """The lines below an image that was found.

    Args:
        fits: whether it is what was asked for; None: nobody knows.
        near: how near or how probable it is.
        image: a row of a table of images.
    """
    return [f"{SIGNS[fits]}{near}", f"{image.pid}, cam {image.camid}"]


def block(html: str) -> str:
    """Something in the style that all widgets share."""
    return f'<div class="reidkit">{html}</div>'


def cells(parts: Sequence[str], kind: str = "") -> str:
    """Cells side by side, wrapped at the edge of the page."""
    return block(f'<div class="reidkit-cells {kind}">{"".join(parts)}</div>')


def status(text: str) -> str:
    """What is shown, in one line that a screen reader speaks when it changes."""
    return block(f'<span class="reidkit-status" role="status">{escape(text)}</span>')


def note(text: str) -> str:
    """Something that went wrong, or nothing."""
    return block(f'<span class="reidkit-note" role="alert">{escape(text)}</span>') if text else ""


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """A small table of text."""
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def chart(
    samples: Mapping[str, tuple[np.ndarray, str]],
    edges: np.ndarray,
    marks: Mapping[str, float],
    *,
    lines: Mapping[str, tuple[np.ndarray, str]] | None = None,
    xlabel: str = "distance",
    width: int = 360,
    height: int = 150,
) -> str:
    """Draw histograms in steps, with lines over them and upright marks, in SVG: a step builds no figure.

    Args:
        samples: by name, (values, colour); the highest step of each is as high as the chart.
        edges: (N + 1,), ascending, of the bins.
        marks: by name, places on the axis.
        lines: by name, (values (N + 1,) from 0 to 1 at the edges, colour).
        xlabel: what the axis shows.
        width: pixels.
        height: pixels.
    """
    left, right, top, bottom = 8, width - 8, 16, height - 32
    low, high = float(edges[0]), float(edges[-1])
    lines = lines or {}

    def x(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low or 1)

    def y(share: float) -> float:
        return top + (bottom - top) * (1 - share)

    parts = []
    for values, colour in samples.values():
        counts = np.histogram(values, edges)[0]
        path = f"M{left:.1f},{bottom:.1f}"
        for start, stop, share in zip(edges[:-1], edges[1:], counts / max(counts.max(), 1), strict=True):
            path += f"L{x(start):.1f},{y(share):.1f}L{x(stop):.1f},{y(share):.1f}"
        parts.append(f'<path d="{path}L{right:.1f},{bottom:.1f}Z" fill="{colour}" fill-opacity="0.55"/>')
    for values, colour in lines.values():
        points = " ".join(f"{x(edge):.1f},{y(value):.1f}" for edge, value in zip(edges, values, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    strokes = {name: STROKE.format(dashes) for name, dashes in zip(marks, cycle(DASHES), strict=False)}
    for name, place in marks.items():
        ends = f'x1="{x(place):.1f}" x2="{x(place):.1f}" y1="{top}" y2="{bottom:.1f}"'
        parts.append(f"<line {ends} {strokes[name]}><title>{escape(name)}</title></line>")
    digits = 2 if high - low < 20 and edges.dtype.kind == "f" else 0
    for tick, anchor in zip(np.linspace(low, high, 5), ("start", *["middle"] * 3, "end"), strict=True):
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 13:.1f}" text-anchor="{anchor}">{tick:.{digits}f}</text>')
    parts.append(f'<text x="{width / 2:.0f}" y="{height - 4}" text-anchor="middle">{escape(xlabel)}</text>')
    at = float(left)  # the legend
    for name, (_, colour) in [*samples.items(), *lines.items()]:
        parts.append(f'<rect x="{at:.0f}" y="3" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{at + 12:.0f}" y="12">{escape(name)}</text>')
        at += 12 + 6.3 * len(name) + 12
    for name in marks if len(marks) > 1 else ():
        parts.append(f'<line x1="{at:.0f}" x2="{at + 14:.0f}" y1="8" y2="8" {strokes[name]}/>')
        parts.append(f'<text x="{at + 18:.0f}" y="12">{escape(name)}</text>')
        at += 18 + 6.3 * len(name) + 12
    parts.append(f'<line x1="{left}" x2="{right}" y1="{bottom:.1f}" y2="{bottom:.1f}" stroke="currentColor"/>')
    return block(svg(parts, width, height))


def svg(parts: Sequence[str], width: int, height: int, about: str = "") -> str:
    """A picture of these parts; `about` is more attributes of it."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img"{about}>{"".join(parts)}</svg>'
