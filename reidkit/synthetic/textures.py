"""Surface colour at visible points: patterns, prints, denim, faces and folds.

Points come in the coordinates of the garment: across (to the left of the person), along (up) and out (forward),
in body heights, or in head heights for a face.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Point = list[Tensor]


class Material(NamedTuple):
    """What a pattern is drawn with at K points: three colours (3, K), and its size and shift (K,) in 0..1."""

    first: Tensor
    second: Tensor
    third: Tensor
    scale: Tensor
    phase: Tensor


def _fraction(x: Tensor) -> Tensor:
    return x - x.floor()


def _mix(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    return a + (b - a) * t


def _around(p: Point) -> Tensor:
    """Way around the body from the middle of the front, in body heights; its seam is at the back.

    A diamond in place of a circle: an arctangent would not be the same to the last bit on every machine.
    """
    share = p[0] / (p[0].abs() + p[2].abs()).clamp(min=1e-6)
    behind = torch.where(p[0] >= 0, 2 - share, -2 - share)
    return torch.where(p[2] >= 0, share, behind) * p[3]


def _noise(folds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Smooth noise in -1..1; one unit of x or y is one turn of a 256 x 256 table."""
    size = len(folds)
    column, row = ((_fraction(c) * size).to(torch.int32) for c in (x, y))
    return folds.reshape(-1).index_select(0, row.clamp(max=size - 1) * size + column.clamp(max=size - 1))


def _hoops(m: Material, p: Point, _folds: Tensor) -> Tensor:
    period = m.scale * 0.055 + 0.026
    on = _fraction(p[1] / period + m.phase) < m.phase * 0.22 + 0.20
    return torch.where(on, m.second, m.first)


def _stripes(m: Material, p: Point, _folds: Tensor) -> Tensor:
    on = _fraction(_around(p) / (m.scale * 0.024 + 0.014) + m.phase) < 0.34
    return torch.where(on, m.second, m.first)


def _checks(m: Material, p: Point, _folds: Tensor) -> Tensor:
    period = m.scale * 0.035 + 0.028
    across = (_fraction(_around(p) / period) < 0.38).float()
    along = (_fraction(p[1] / period + m.phase) < 0.38).float()
    many = (m.third - m.first).abs().sum(dim=0) * 0.2 + 0.45
    return _mix(_mix(m.first, m.second, across * many.clamp(max=0.9)), m.third * 0.35 + m.second * 0.65, along * 0.5)


def _dots(m: Material, p: Point, _folds: Tensor) -> Tensor:
    period = m.scale * 0.022 + 0.024
    y = p[1] / period + m.phase
    x = _around(p) / period + y.floor() * 0.5
    dx, dy = _fraction(x) - 0.5, _fraction(y) - 0.5
    return torch.where(dx * dx + dy * dy < 0.075, m.second, m.first)


def _print(m: Material, p: Point, _folds: Tensor) -> Tensor:
    x = (p[0] - (m.phase - 0.5) * 0.030) / (m.scale * 0.026 + 0.034)
    y = (p[1] - 0.195) / (_fraction(m.phase * 7) * 0.024 + 0.028)
    shape = _fraction(m.phase * 13)
    square = (x.abs() < 1) & (y.abs() < 1)
    disc = x * x + y * y < 1
    bar = (x.abs() < 1.3) & (y.abs() < 0.42)
    on = torch.where(shape < 0.4, square, torch.where(shape < 0.75, disc, bar))
    front = (p[2] > 0) | (_fraction(m.phase * 29) > 0.6)
    inner = on & (_fraction(y * 1.5 + x * _fraction(m.phase * 3)) < 0.45)
    return torch.where(on & front, torch.where(inner, m.second, m.third), m.first)


def _yoke(m: Material, p: Point, _folds: Tensor) -> Tensor:
    return torch.where(p[1] > m.scale * 0.07 + 0.19, m.second, m.first)


def _patches(m: Material, p: Point, folds: Tensor) -> Tensor:
    n = _noise(folds, _around(p) * (m.scale * 0.3 + 0.45) + m.phase, p[1] * 0.5 + m.phase * 3)
    return torch.where(n < -0.13, m.first, torch.where(n < 0.13, m.second, m.third))


def _bands(m: Material, p: Point, _folds: Tensor) -> Tensor:
    turn = _fraction(p[1] / (m.scale * 0.10 + 0.15) + m.phase)
    return torch.where(turn < 0.34, m.first, torch.where(turn < 0.67, m.second, m.third))


def _open(m: Material, p: Point, _folds: Tensor) -> Tensor:
    gap = (0.31 - p[1]) * 0.05 + 0.012 + m.scale * 0.014
    edge = torch.where((p[0].abs() < gap + 0.006) & (p[2] > 0), m.first * 0.6, m.first)
    return torch.where((p[0].abs() < gap) & (p[2] > 0), m.second, edge)


def _shirt(m: Material, p: Point, _folds: Tensor) -> Tensor:
    front = p[2] > 0
    seam = front & (p[0].abs() < 0.004)
    button = seam & (_fraction(p[1] / 0.035) < 0.35)
    pocket = front & ((p[0] - 0.045).abs() < 0.020) & ((p[1] - 0.215).abs() < 0.022)
    return torch.where(button, m.first * 0.35, torch.where(seam | pocket, m.first * 0.80, m.first))


def _denim(m: Material, p: Point, folds: Tensor) -> Tensor:
    worn = (p[2] * 14).clamp(0, 1) * 0.22
    weave = _noise(folds, p[0] * 9, p[1] * 9) * 0.10
    return _mix(m.first, torch.ones_like(m.first) * 0.8, worn) * (1 + weave)


def _piping(m: Material, p: Point, _folds: Tensor) -> Tensor:
    return torch.where((p[2].abs() < 0.008 + m.scale * 0.006) & (p[0].abs() > 0.018), m.second, m.first)


def _face(m: Material, p: Point, _folds: Tensor) -> Tensor:
    front = p[2] > 0.12
    x = p[0].abs()
    ex, ey = (x - 0.155) / 0.062, (p[1] - 0.035) / 0.036
    brow = ((x - 0.155).abs() < 0.085) & ((p[1] - 0.125).abs() < 0.022)
    mouth = (x < 0.105) & ((p[1] + 0.265).abs() < 0.026)
    frame = (m.scale > 0.5) & (x < 0.27) & ((p[1] - 0.035).abs() < 0.075)
    eye = (ex * ex + ey * ey < 1) & front
    glass = frame & front & ~((ex * ex < 1.2) & (ey * ey < 1.6) & ~eye)
    cheeks = torch.where(
        ((x - 0.19).abs() < 0.07) & ((p[1] + 0.10).abs() < 0.06) & front,
        _mix(m.first, m.third, m.phase * 0.25 + 0.12),
        m.first,
    )
    out = torch.where(mouth & front, _mix(m.first, m.third, m.phase * 0.35 + 0.65), cheeks)
    dark = torch.where(eye | (brow & front), _mix(m.first, m.second, torch.full_like(x, 0.75)), out)
    return torch.where(glass, _mix(m.first, m.second, torch.full_like(x, 0.6)), dark)


PATTERNS: dict[str, Callable[[Material, Point, Tensor], Tensor]] = {
    "plain": lambda m, _point, _folds: m.first,
    "hoops": _hoops, "stripes": _stripes, "checks": _checks, "dots": _dots, "print": _print, "yoke": _yoke,
    "patches": _patches, "bands": _bands, "open": _open, "shirt": _shirt, "denim": _denim, "piping": _piping,
    "face": _face,
}  # fmt: skip


def paint(looks: Tensor, material: Tensor, point: Point, folds: Tensor) -> Tensor:
    """Colour (3, K) of K points of materials (K,), columns of `looks` (WIDTH, M); patterns are numbers in PATTERNS."""
    base, kind = looks[0:3].index_select(1, material), looks[9].to(torch.uint8).index_select(0, material)
    phase, strength = (looks[row].index_select(0, material) for row in (11, 13))
    groups = torch.argsort(kind, stable=True).split(torch.bincount(kind, minlength=len(PATTERNS)).tolist())
    for pattern, at in list(zip(PATTERNS.values(), groups, strict=True))[1:]:  # the first one is plain
        if len(at):
            m, points = looks.index_select(1, material.index_select(0, at)), [x.index_select(0, at) for x in point]
            base.index_copy_(1, at, pattern(Material(m[0:3], m[3:6], m[6:9], m[10], m[11]), points, folds))
    wrinkle = _noise(folds, _around(point) * 1.9 + 0.3, point[1] * 1.15 + phase)
    return base * (1 + wrinkle * strength)
