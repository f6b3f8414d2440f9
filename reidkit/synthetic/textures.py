"""Surface colour at visible points: patterns, prints, denim, faces and folds.

Points come in the coordinates of the garment: across (to the left of the person), along (up) and out (forward),
in body heights, or in head heights for a face.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .population import PATTERNS

Point = list[Tensor]


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
    column, row = (_fraction(x) * size).to(torch.int64), (_fraction(y) * size).to(torch.int64)
    return folds.reshape(-1)[row.clamp(max=size - 1) * size + column.clamp(max=size - 1)]


def _choose(on: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(on, yes, no)


def _hoops(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    period = m[10] * 0.055 + 0.026
    on = _fraction(p[1] / period + m[11]) < m[11] * 0.22 + 0.20
    return _choose(on, m[3:6], m[0:3])


def _stripes(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    on = _fraction(_around(p) / (m[10] * 0.024 + 0.014) + m[11]) < 0.34
    return _choose(on, m[3:6], m[0:3])


def _checks(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    period = m[10] * 0.035 + 0.028
    across = (_fraction(_around(p) / period) < 0.38).float()
    along = (_fraction(p[1] / period + m[11]) < 0.38).float()
    many = (m[6:9] - m[0:3]).abs().sum(dim=0) * 0.2 + 0.45
    return _mix(_mix(m[0:3], m[3:6], across * many.clamp(max=0.9)), m[6:9] * 0.35 + m[3:6] * 0.65, along * 0.5)


def _dots(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    period = m[10] * 0.022 + 0.024
    y = p[1] / period + m[11]
    x = _around(p) / period + y.floor() * 0.5
    dx, dy = _fraction(x) - 0.5, _fraction(y) - 0.5
    return _choose(dx * dx + dy * dy < 0.075, m[3:6], m[0:3])


def _print(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    x = (p[0] - (m[11] - 0.5) * 0.030) / (m[10] * 0.026 + 0.034)
    y = (p[1] - 0.195) / (_fraction(m[11] * 7) * 0.024 + 0.028)
    shape = _fraction(m[11] * 13)
    square = (x.abs() < 1) & (y.abs() < 1)
    disc = x * x + y * y < 1
    bar = (x.abs() < 1.3) & (y.abs() < 0.42)
    on = torch.where(shape < 0.4, square, torch.where(shape < 0.75, disc, bar))
    front = (p[2] > 0) | (_fraction(m[11] * 29) > 0.6)
    inner = on & (_fraction(y * 1.5 + x * _fraction(m[11] * 3)) < 0.45)
    return _choose(on & front, _choose(inner, m[3:6], m[6:9]), m[0:3])


def _yoke(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    return _choose(p[1] > m[10] * 0.07 + 0.19, m[3:6], m[0:3])


def _patches(m: Tensor, p: Point, folds: Tensor) -> Tensor:
    n = _noise(folds, _around(p) * (m[10] * 0.3 + 0.45) + m[11], p[1] * 0.5 + m[11] * 3)
    return _choose(n < -0.13, m[0:3], _choose(n < 0.13, m[3:6], m[6:9]))


def _bands(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    turn = _fraction(p[1] / (m[10] * 0.10 + 0.15) + m[11])
    return _choose(turn < 0.34, m[0:3], _choose(turn < 0.67, m[3:6], m[6:9]))


def _open(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    gap = (0.31 - p[1]) * 0.05 + 0.012 + m[10] * 0.014
    edge = _choose((p[0].abs() < gap + 0.006) & (p[2] > 0), m[0:3] * 0.6, m[0:3])
    return _choose((p[0].abs() < gap) & (p[2] > 0), m[3:6], edge)


def _shirt(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    front = p[2] > 0
    seam = front & (p[0].abs() < 0.004)
    button = seam & (_fraction(p[1] / 0.035) < 0.35)
    pocket = front & ((p[0] - 0.045).abs() < 0.020) & ((p[1] - 0.215).abs() < 0.022)
    return _choose(button, m[0:3] * 0.35, _choose(seam | pocket, m[0:3] * 0.80, m[0:3]))


def _denim(m: Tensor, p: Point, folds: Tensor) -> Tensor:
    worn = (p[2] * 14).clamp(0, 1) * 0.22
    weave = _noise(folds, p[0] * 9, p[1] * 9) * 0.10
    return _mix(m[0:3], torch.ones_like(m[0:3]) * 0.8, worn) * (1 + weave)


def _piping(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    return _choose((p[2].abs() < 0.008 + m[10] * 0.006) & (p[0].abs() > 0.018), m[3:6], m[0:3])


def _face(m: Tensor, p: Point, _folds: Tensor) -> Tensor:
    front = p[2] > 0.12
    x = p[0].abs()
    ex, ey = (x - 0.155) / 0.062, (p[1] - 0.035) / 0.036
    brow = ((x - 0.155).abs() < 0.085) & ((p[1] - 0.125).abs() < 0.022)
    mouth = (x < 0.105) & ((p[1] + 0.265).abs() < 0.026)
    frame = (m[10] > 0.5) & (x < 0.27) & ((p[1] - 0.035).abs() < 0.075)
    eye = (ex * ex + ey * ey < 1) & front
    glass = frame & front & ~((ex * ex < 1.2) & (ey * ey < 1.6) & ~eye)
    cheeks = _choose(
        ((x - 0.19).abs() < 0.07) & ((p[1] + 0.10).abs() < 0.06) & front,
        _mix(m[0:3], m[6:9], m[11] * 0.25 + 0.12),
        m[0:3],
    )
    out = _choose(mouth & front, _mix(m[0:3], m[6:9], m[11] * 0.35 + 0.65), cheeks)
    dark = _choose(eye | (brow & front), _mix(m[0:3], m[3:6], torch.full_like(x, 0.75)), out)
    return _choose(glass, _mix(m[0:3], m[3:6], torch.full_like(x, 0.6)), dark)


def _plain(m: Tensor, _p: Point, _folds: Tensor) -> Tensor:
    return m[0:3]


_PATTERNS: dict[str, Callable[[Tensor, Point, Tensor], Tensor]] = {
    "plain": _plain, "hoops": _hoops, "stripes": _stripes, "checks": _checks, "dots": _dots, "print": _print,
    "yoke": _yoke, "patches": _patches, "bands": _bands, "open": _open, "shirt": _shirt, "denim": _denim,
    "piping": _piping, "face": _face,
}  # fmt: skip


def paint(material: Tensor, point: Point, folds: Tensor) -> Tensor:
    """Colour (3, K) of K points with materials (WIDTH, K)."""
    base = material[0:3].clone()
    kind = material[9]
    for name, pattern in _PATTERNS.items():
        if name == "plain":
            continue
        at = torch.nonzero(kind == PATTERNS.index(name))[:, 0]
        if len(at):
            base[:, at] = pattern(material[:, at], [x[at] for x in point], folds)
    strength = material[13]
    wrinkle = _noise(folds, _around(point) * 1.9 + 0.3, point[1] * 1.15 + material[11])
    return base * (1 + wrinkle * strength)
