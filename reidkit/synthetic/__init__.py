"""People that do not exist, seen by six cameras that do not exist: a benchmark anyone may have.

Nothing in here is needed to read the rest of the library.

`plan` decides who is seen where, `render` draws it, `write` puts a whole benchmark on disk in the layout of
Market-1501, with part maps and orientations besides.
"""

from .body import PARTS
from .captures import SIZES, Size, plan
from .gallery import sheet
from .population import population
from .render import render
from .scene import CAMERAS
from .write import write

__all__ = ["CAMERAS", "PARTS", "SIZES", "Size", "plan", "population", "render", "sheet", "write"]
