"""What widgets show, as HTML: thumbnails, cells in a grid, charts. Pure functions, and no resource from outside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from ..plots import BLACK, GREEN, ORANGE, PALETTE, VERMILION

DASHES = ("", "4 3", "1 3")
WIDTH, HEIGHT = 64, 128  # pixels of a thumbnail
MARKS = (  # of people, as plots.MARKS, in a square from -1 to 1
    "M-1,0a1,1 0 1,0 2,0a1,1 0 1,0 -2,0Z", "M-.9-.9H.9V.9H-.9Z", "M0-1.1L1,.8H-1Z", "M0-1.2L1.1,0L0,1.2L-1.1,0Z",
    "M0,1.1L1-.8H-1Z", "M-.4-1H.4V-.4H1V.4H.4V1H-.4V.4H-1V-.4H-.4Z",
    "M-1-.5L-.5-1L0-.5L.5-1L1-.5L.5,0L1,.5L.5,1L0,.5L-.5,1L-1,.5L-.5,0Z",
    "M0-1.2L.3-.4L1.1-.4L.5,.1L.7,1L0,.5L-.7,1L-.5,.1L-1.1-.4L-.3-.4Z",
)  # fmt: skip
KEPT = 4096  # thumbnails in memory at most, some 4 kB each

STYLE = f"""<style>
.reidkit {{ color: var(--jp-ui-font-color1, #222); font: 13px/1.35 var(--jp-ui-font-family, sans-serif); }}
.reidkit button {{ all: unset; box-sizing: border-box; cursor: pointer; display: inline-block; text-align: center; }}
.reidkit button:focus-visible {{ outline: 3px solid #0072B2; outline-offset: 1px; }}
.reidkit img {{ display: block; width: {WIDTH}px; height: {HEIGHT}px; }}
.reidkit-cells {{ display: flex; flex-wrap: wrap; gap: 8px 6px; padding: 2px; }}
.reidkit-cells > * {{ width: 76px; text-align: center; font-size: 12px; line-height: 1.3; }}
.reidkit-cells {{ font-variant-numeric: tabular-nums; }}
.reidkit-cells img {{ border: 3px solid transparent; margin: 0 auto 2px; }}
.reidkit-cells .far img {{ opacity: 0.35; }}
.reidkit-cells > .wide {{ width: auto; max-width: 420px; text-align: left; }}
.reidkit-cells > .broad {{ width: 118px; }}
.reidkit-strip {{ height: 124px; overflow: hidden; }}
.reidkit-strip > * {{ width: 46px; flex: none; }}
.reidkit-strip img {{ width: 40px; height: 80px; }}
.reidkit-strip .on img {{ border-color: {BLACK}; outline: 2px solid #F0E442; }}
.reidkit-hit img {{ border-color: {GREEN}; }}
.reidkit-miss img {{ border-color: {VERMILION}; border-style: dashed; }}
.reidkit-query img {{ border-color: {BLACK}; outline: 1px solid #999; }}
.reidkit table {{ border-collapse: collapse; margin: 4px 0; }}
.reidkit td, .reidkit th {{ padding: 1px 10px 1px 0; text-align: left; font-size: 13px; }}
.reidkit-status {{ display: block; padding: 4px 0; font-size: 14px; }}
.reidkit-note {{ display: block; padding: 4px 8px; border-left: 4px solid {ORANGE}; }}
.reidkit-legend {{ width: 400px; font-size: 12px; }}
.reidkit svg text {{ fill: currentColor; font: 11px sans-serif; }}
</style>"""


def picture(path: str) -> np.ndarray:
    """An image file as (HEIGHT, WIDTH, 3) uint8; grey with a cross where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * WIDTH, 2 * HEIGHT))  # a large JPEG need not be decoded in full
            return np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT)))
    except Exception:  # Pillow raises many kinds for broken files; one bad image must not stop the others
        blank = Image.new("RGB", (WIDTH, HEIGHT), "#bbbbbb")
        draw = ImageDraw.Draw(blank)
        draw.line((0, 0, WIDTH, HEIGHT), "#777777", 2)
        draw.line((0, HEIGHT, WIDTH, 0), "#777777", 2)
        return np.asarray(blank)


def overlaid(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 under a map (H', W') from 0 to 1: the higher, the yellower and the less see-through."""
    size = image.shape[1], image.shape[0]
    grown = np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize(size, Image.Resampling.BILINEAR))
    grown = grown.clip(0, 1)[..., None]
    colour = 255 * matplotlib.colormaps["inferno"](grown[..., 0])[..., :3]
    opaque = 0.25 + 0.5 * grown
    return ((1 - opaque) * image + opaque * colour).astype(np.uint8)


def data_uri(image: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 as a JPEG inside an address."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


@lru_cache(KEPT)
def thumbnail(path: str) -> str:
    """`data_uri` of an image file, encoded once."""
    return data_uri(picture(path))


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
    click = (
        f"var f=this.closest('.reidkit-app').querySelector('.reidkit-{name} input');f.value={value};"
        "f.dispatchEvent(new Event('change',{bubbles:true}))"
    )
    return f'<button type="button" class="{kind}" onclick="{click}">{inside}</button>'


def cells(parts: Sequence[str], kind: str = "") -> str:
    """Cells side by side, wrapped at the edge of the page."""
    return f'<div class="reidkit"><div class="reidkit-cells {kind}">{"".join(parts)}</div></div>'


def status(text: str) -> str:
    """What is shown, in one line that a screen reader speaks when it changes."""
    return f'<div class="reidkit"><span class="reidkit-status" role="status">{escape(text)}</span></div>'


def note(text: str) -> str:
    """Something that went wrong, or nothing."""
    if not text:
        return ""
    return f'<div class="reidkit"><span class="reidkit-note" role="alert">{escape(text)}</span></div>'


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """A small table of text."""
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def chart(
    areas: Mapping[str, tuple[np.ndarray, str]],
    edges: np.ndarray,
    marks: Mapping[str, float],
    *,
    lines: Mapping[str, tuple[np.ndarray, str]] | None = None,
    xlabel: str = "distance",
    width: int = 360,
    height: int = 150,
) -> str:
    """Draw a histogram in steps, with lines over it and upright marks, in SVG: a step builds no figure.

    Args:
        areas: by name, (heights (N,), colour); each is drawn as high as the chart.
        edges: (N + 1,), ascending.
        marks: by name, places on the axis.
        lines: by name, (values (N + 1,) from 0 to 1 at the edges, colour).
        xlabel: what the axis shows.
        width: pixels.
        height: pixels.
    """
    left, right, top, bottom = 8, 8, 16, 32
    low, high = float(edges[0]), float(edges[-1])

    def x(value: float) -> float:
        return left + (width - left - right) * (value - low) / (high - low or 1)

    def y(share: float) -> float:
        return top + (height - top - bottom) * (1 - share)

    parts = []
    for heights, colour in (area for area in areas.values()):
        tall = max(float(heights.max(initial=0)), 1e-12)
        path = f"M{x(low):.1f},{y(0):.1f}"
        for a, b, h in zip(edges[:-1], edges[1:], heights, strict=True):
            path += f"L{x(a):.1f},{y(h / tall):.1f}L{x(b):.1f},{y(h / tall):.1f}"
        parts.append(f'<path d="{path}L{x(high):.1f},{y(0):.1f}Z" fill="{colour}" fill-opacity="0.55"/>')
    for values, colour in (lines or {}).values():
        points = " ".join(f"{x(e):.1f},{y(v):.1f}" for e, v in zip(edges, values, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for k, (name, place) in enumerate(marks.items()):
        parts.append(
            f'<line x1="{x(place):.1f}" x2="{x(place):.1f}" y1="{top}" y2="{y(0):.1f}" stroke="currentColor" '
            f'stroke-width="2" stroke-dasharray="{DASHES[k % 3]}"><title>{escape(name)}</title></line>'
        )
    ticks = np.linspace(low, high, 5)
    digits = 2 if high - low < 20 and edges.dtype.kind == "f" else 0
    for k, tick in enumerate(ticks):
        anchor = "start" if k == 0 else "end" if k == len(ticks) - 1 else "middle"
        parts.append(f'<text x="{x(tick):.1f}" y="{y(0) + 13:.1f}" text-anchor="{anchor}">{tick:.{digits}f}</text>')
    parts.append(f'<text x="{width / 2:.0f}" y="{height - 4}" text-anchor="middle">{escape(xlabel)}</text>')
    at = float(left)
    for name, (_, colour) in [*areas.items(), *(lines or {}).items()]:
        parts.append(f'<rect x="{at:.0f}" y="3" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{at + 12:.0f}" y="12">{escape(name)}</text>')
        at += 12 + 6.3 * len(name) + 12
    for k, name in enumerate(marks if len(marks) > 1 else ()):
        parts.append(
            f'<line x1="{at:.0f}" x2="{at + 14:.0f}" y1="8" y2="8" stroke="currentColor" stroke-width="2" '
            f'stroke-dasharray="{DASHES[k % 3]}"/><text x="{at + 18:.0f}" y="12">{escape(name)}</text>'
        )
        at += 18 + 6.3 * len(name) + 12
    axis = f'<line x1="{left}" x2="{width - right}" y1="{y(0):.1f}" y2="{y(0):.1f}" stroke="currentColor"/>'
    drawn = (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{"".join(parts)}{axis}</svg>'
    )
    return f'<div class="reidkit">{drawn}</div>'


def plane(
    points: np.ndarray,
    label: np.ndarray,
    centres: np.ndarray,
    radius: np.ndarray,
    *,
    pull: np.ndarray,
    trail: np.ndarray,
    rays: np.ndarray | None = None,
    side: int = 400,
) -> str:
    """Points of people in a plane, drawn in SVG: a colour and a mark each, centres and balls, ways and arrows.

    Args:
        points: (N, 2).
        label: (N,) from 0, the person of each point.
        centres: (P, 2), one a person.
        radius: (P,) of the balls around the centres.
        pull: (N, 2), the directions of the arrows; the longest is drawn as a tenth of the side.
        trail: (S, N, 2), where the points were before.
        rays: (P, 2), a direction from the origin for each person; None: not drawn.
        side: pixels.
    """
    reach = _round(1.12 * max(float(np.abs(points).max()), 1e-6))
    scale = side / 2 / reach

    def at(place: np.ndarray) -> str:
        return f"{side / 2 + scale * place[0]:.1f},{side / 2 - scale * place[1]:.1f}"

    parts = [f'<path d="M0,{side / 2}H{side}M{side / 2},0V{side}" stroke="currentColor" stroke-opacity="0.2"/>']
    for share in (-1, -0.5, 0.5, 1):
        x = side / 2 * (1 + share)
        anchor = "start" if share == -1 else "end" if share == 1 else "middle"
        parts.append(f'<text x="{x:.0f}" y="{side / 2 + 13:.0f}" text-anchor="{anchor}">{share * reach:g}</text>')
    for centre, r in zip(centres, radius, strict=True):
        parts.append(
            f'<g transform="translate({at(centre)})" fill="none" stroke="currentColor"><path d="M-6,0h12M0-6v12"/>'
            f'<circle r="{scale * r:.1f}" opacity="0.35"/></g>'
        )
    for person, ray in enumerate(rays if rays is not None else ()):
        end = 2 * reach * ray / max(float(np.linalg.norm(ray)), 1e-12)
        parts.append(
            f'<path d="M{at(np.zeros(2))}L{at(end)}" stroke="{PALETTE[person]}" stroke-dasharray="6 5" '
            'stroke-width="1.5" opacity="0.7"/>'
        )
    longest = max(float(np.linalg.norm(pull, axis=1).max()), 1e-12)
    for i, (place, person) in enumerate(zip(points, label, strict=True)):
        colour = PALETTE[person]
        way = " ".join(at(step[i]) for step in [*trail, points])
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" opacity="0.45"/>')
        tip = place + pull[i] / longest * 0.2 * reach
        parts.append(f'<path d="M{at(place)}L{at(tip)}" stroke="currentColor" stroke-width="1.5"/>')
        parts.append(f'<path d="{MARKS[person]}" fill="{colour}" transform="translate({at(place)}) scale(5)"/>')
    return (
        f'<svg class="reidkit-points" viewBox="0 0 {side} {side}" width="{side}" height="{side}" role="img" '
        f'aria-label="points of {len(centres)} people">{"".join(parts)}</svg>'
    )


def _round(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 5, 7, 10, 15, ...: an axis that rarely changes while points move."""
    ten = 10.0 ** np.floor(np.log10(value))
    return float(next(step * ten for step in (1, 1.5, 2, 3, 5, 7, 10) if step * ten >= value))
