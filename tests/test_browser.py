"""Every widget in real JupyterLab and, as a page, in Voila: moved by keys and clicks, and looked at.

Screenshots go to the folder of REIDKIT_SCREENSHOTS, or else to a temporary one that pytest names in its summary.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lab
import pytest
from PIL import Image

from reidkit import cli, course, synthetic
from reidkit.images import read_images
from reidkit.recipes import recipe
from reidkit.runs import load_or_fit
from reidkit.widgets.page import page

pytestmark = [pytest.mark.slow, pytest.mark.browser]
WIDTHS = (1280, 900)
SHOTS = os.environ.get("REIDKIT_SCREENSHOTS")  # read before the fixtures clear it
PICTURE = "[...app.querySelectorAll('img, svg')].map(e => e.src || e.outerHTML).join()"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small finished run of a system that answers attributes, and the people it was trained on."""
    if not Path(lab.CHROMIUM).exists() or importlib.util.find_spec("playwright") is None:
        pytest.skip("there is no chromium or no playwright: apt-get install chromium, pip install -e '.[test]'")
    folder = tmp_path_factory.mktemp("lab")
    root = synthetic.write(folder / "people", size="smoke", progress=False)
    plan = recipe("two_stage", "smoke", dataset="synthetic")
    load_or_fit(
        plan, *course.sets(plan, read_images("synthetic", root)), folder=folder / "runs" / "run", progress=False
    )
    return folder


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(SHOTS) if SHOTS else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def jupyter(home: Path) -> Iterator[str]:
    with lab.jupyterlab(home) as address:
        yield address


@pytest.fixture(scope="module")
def chromium(home: Path) -> Iterator[Any]:
    del home  # skips first where there is no browser
    with lab.browser() as found:
        yield found


def text(page: Any) -> str:
    """The line that says what is shown."""
    return str(page.inner_text(".reidkit-status"))


def changed(page: Any, act: Any) -> str:
    """Do something, wait until pictures or line are others and come to rest, and return the new line."""
    shown = f"() => {{ const app = document.querySelector('.reidkit-app'); return app.innerText + {PICTURE}; }}"
    before = page.evaluate(shown)
    act()
    page.wait_for_function(f"before => ({shown})() !== before", arg=before, timeout=60_000)
    now = None
    while now != (now := page.evaluate(shown)) or text(page).endswith("..."):  # a step comes in several messages
        page.wait_for_timeout(1000)
    return text(page)


def press(page: Any, label: str, key: str = "ArrowRight") -> None:
    """A key on the slider with this description."""
    page.locator(f".widget-slider:has(label:text-is('{label}')) .noUi-handle").press(key)


def choose(page: Any, label: str, option: str) -> None:
    """An option of the dropdown with this description."""
    page.locator(f".widget-dropdown:has(label:text-is('{label}')) select").select_option(label=option)


def upload(page: Any, file: Path) -> None:
    """A file by the button that asks for one."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload image").click()
    chooser.value.set_files(file)


def look(page: Any, shots: Path, name: str) -> None:
    """Nothing sticks out on the right, every picture has loaded; keep a screenshot of the whole widget."""
    app = page.locator(".reidkit-app").first
    wide = app.evaluate(
        "app => [...app.querySelectorAll('.widget-html-content > *, .widget-inline-hbox, button')]"
        ".filter(e => e.getBoundingClientRect().right > app.getBoundingClientRect().right + 1)"
        ".map(e => e.outerHTML.slice(0, 99))"
    )
    assert wide == []
    assert app.evaluate("app => [...app.querySelectorAll('img')].every(i => i.complete && i.naturalWidth > 0)")
    page.screenshot(path=shots / f"{name}.png")
    with Image.open(shots / f"{name}.png") as shot:
        assert shot.getextrema() != ((255, 255),) * 3


def retrieval(page: Any, shots: Path, name: str) -> None:
    """The retrieval browser under keys, menus and clicks."""
    first = text(page)
    assert "Query 1 of" in first and "AP" in first
    assert "Query 2 of" in changed(page, lambda: press(page, "query"))
    assert "Query 4 of" in changed(page, lambda: page.locator(".reidkit-strip button").nth(3).click())
    assert changed(page, lambda: press(page, "threshold", "ArrowLeft")) != first
    changed(page, lambda: press(page, "threshold", "Home"))
    assert page.locator(".reidkit-app .far").count() >= 20
    assert "by cosine" in changed(page, lambda: choose(page, "metric", "cosine"))
    assert "by euclidean" in changed(page, lambda: choose(page, "metric", "euclidean"))
    assert "re-ranked" in changed(page, lambda: page.get_by_text("re-rank by common neighbours").click())
    changed(page, lambda: page.get_by_text("re-rank by common neighbours").click())
    changed(page, lambda: choose(page, "attention", "upcolor"))
    look(page, shots, f"{name}-attention")
    changed(page, lambda: choose(page, "attention", "none"))
    place = page.locator(".reidkit-app button.reidkit-hit, .reidkit-app button.reidkit-miss").nth(2)
    changed(page, lambda: place.press("Enter"))
    assert "distance" in page.inner_text(".reidkit-app .wide")
    look(page, shots, f"{name}-pair")
    content = Path(page.reidkit_home, "people", "query")
    picture = sorted(content.glob("*.jpg"))[5]
    assert picture.name in changed(page, lambda: upload(page, picture))
    broken = Path(page.reidkit_home, "broken.jpg")
    broken.write_bytes(b"no picture")
    upload(page, broken)
    page.get_by_text("is no picture that can be read").wait_for()
    assert "Query" in changed(page, lambda: press(page, "query"))
    page.get_by_role("button", name="Save figure").click()
    page.get_by_text("wrote ").wait_for()
    assert list(Path(page.reidkit_home, "figures", "run").glob("*.pdf"))


def threshold(page: Any, shots: Path, name: str) -> None:
    """The threshold explorer: dear matches move it up, a hand elsewhere, the button back."""
    first = text(page)
    assert "FAR" in first and "cheapest" in first
    dear = changed(page, lambda: press(page, "match sent away costs", "End"))
    assert value(dear) > value(first)
    assert value(changed(page, lambda: press(page, "threshold", "ArrowLeft"))) < value(dear)
    back = changed(page, lambda: page.get_by_role("button", name="Take the cheapest").click())
    assert value(back) == pytest.approx(value(dear), abs=0.01)
    changed(page, lambda: choose(page, "genuine pairs", "1 in 1,000"))
    look(page, shots, f"{name}-dear")


def value(line: str) -> float:
    """The threshold in the line."""
    found = re.search(r"Threshold ([\d.]+):", line)
    assert found
    return float(found[1])


def attention(page: Any, shots: Path, name: str) -> None:
    """The attention browser: another image, another method."""
    assert "12 attributes by cam" in text(page) and "have a visible part" in text(page)
    assert "Image 2 of" in changed(page, lambda: press(page, "image"))
    assert "by layercam" in changed(page, lambda: choose(page, "method", "layercam"))
    look(page, shots, f"{name}-layercam")


def words(page: Any, shots: Path, name: str) -> None:
    """Search by words: two of them, and none again."""
    assert "say what the person wears" in text(page)
    assert "gender female" in changed(page, lambda: choose(page, "gender", "female"))
    assert "upcolor white" in changed(page, lambda: choose(page, "upcolor", "white"))
    look(page, shots, f"{name}-found")
    assert "say what" in changed(page, lambda: page.get_by_role("button", name="Clear").click())


def points(page: Any, shots: Path, name: str) -> None:
    """The loss playground: steps by a click and by a key, other weights, points that run away, the start again."""
    first = text(page)
    assert "Step 0 ·" in first
    assert "Step 1 ·" in changed(page, lambda: page.get_by_role("button", name="1 step").click())
    assert "Step 51 ·" in changed(page, lambda: page.get_by_role("button", name="50 steps").press("Enter"))
    look(page, shots, f"{name}-softmax")
    changed(page, lambda: press(page, "softmax", "Home"))
    page.get_by_role("button", name="1 step").click()
    page.get_by_text("all weights are 0").wait_for()
    changed(page, lambda: press(page, "triplet", "End"))
    changed(page, lambda: choose(page, "triplets", "hardest, softplus"))
    assert "Step 101 ·" in changed(page, lambda: page.get_by_role("button", name="50 steps").click())
    look(page, shots, f"{name}-triplet")
    changed(page, lambda: press(page, "scatter (minus)", "End"))
    changed(page, lambda: press(page, "learning rate", "End"))
    choose(page, "optimiser", "gradient descent")
    changed(page, lambda: page.get_by_role("button", name="50 steps").click())
    assert changed(page, lambda: page.get_by_role("button", name="Start again").click()) == first


APPS: dict[str, tuple[str, Callable[[Any, Path, str], None]]] = {
    "browse": ("widgets.browse('{run}')", retrieval),
    "threshold": ("widgets.explore_threshold('{run}')", threshold),
    "look": ("widgets.look('{run}')", attention),
    "ask": ("widgets.ask('{run}')", words),
    "play": ("widgets.play()", points),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", APPS)
def test_in_jupyterlab(jupyter: str, chromium: Any, home: Path, shots: Path, name: str, width: int) -> None:
    line, act = APPS[name]
    file = lab.notebook(
        home / f"{name}{width}.ipynb", "from reidkit import widgets", line.format(run=home / "runs" / "run")
    )
    page, errors = lab.opened(chromium, width)
    page.reidkit_home = home
    try:
        lab.run_all(page, jupyter, file)
        look(page, shots, f"{name}-{width}")
        act(page, shots, f"{name}-{width}")
    except BaseException:
        page.screenshot(path=shots / f"{name}-{width}-failed.png")
        raise
    finally:
        lab.stop(page)
    assert errors == []


def drive(
    chromium: Any, home: Path, shots: Path, name: str, command: list[str], variables: dict[str, str]
) -> tuple[list[str], list[str]]:
    """A page in Voila, on which the widget does what it does in JupyterLab: its errors, and what it asks outside."""
    with lab.voila(command, variables, home) as address:
        tab, errors = lab.opened(chromium, 1000)
        tab.reidkit_home = home
        outside = lab.outside(tab)
        try:
            tab.goto(address, wait_until="commit")  # it is loaded when all cells have run
            tab.wait_for_selector(".reidkit-status", timeout=120_000)
            look(tab, shots, f"{name}-page")
            APPS[name][1](tab, shots, f"{name}-page")
        except BaseException:
            tab.screenshot(path=shots / f"{name}-page-failed.png")
            raise
        finally:
            tab.close()
    return errors, outside


VOILA = pytest.mark.skipif(importlib.util.find_spec("voila") is None, reason="no voila: pip install -e '.[voila]'")


@VOILA
@pytest.mark.parametrize("name", [name for name in APPS if name != "browse"])
def test_as_a_page(chromium: Any, home: Path, shots: Path, tmp_path: Path, name: str) -> None:
    line = APPS[name][0].format(run=home / "runs" / "run")
    served = page(tmp_path, name, ["from reidkit import widgets", line])
    assert drive(chromium, home, shots, name, *served) == ([], [])


@VOILA
def test_reidkit_browse_is_a_page(
    chromium: Any, home: Path, shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lesson 09's browser for people who do not code: what the command starts is started, on a free port."""
    reader = shutil.copytree(home / "runs" / "run", tmp_path / "reader")

    def started(command: list[str], env: dict[str, str]) -> int:
        seen = drive(chromium, home, shots, "browse", command, {"JUPYTER_PATH": env["JUPYTER_PATH"]})
        assert seen == ([], [])
        return 0

    monkeypatch.setattr(cli.subprocess, "call", started)
    monkeypatch.setattr(sys, "argv", ["reidkit", "browse", str(home / "runs" / "run"), "--reader", str(reader)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
