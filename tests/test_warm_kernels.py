"""Notebooks run in a kernel of their own that ends with them, whatever ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from reidkit.course import run as lessons
from reidkit.course import warm_kernels
from reidkit.errors import InputError

forked = pytest.mark.skipif(not warm_kernels.WARM, reason="only Linux forks its kernels")
SAY_PID = "import os, pathlib\n_ = pathlib.Path('pid').write_text(str(os.getpid()))"


def notebook(folder: Path, *cells: str) -> Path:
    path = folder / "05_own.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(SAY_PID), *map(new_code_cell, cells)]), path)
    return path


def run(path: Path) -> list[str]:
    """The texts that its cells gave."""
    done = lessons.execute(path, path.parent / "out", profile="smoke", dataset="synthetic", progress=False)
    outputs = [output for cell in nbformat.read(done.path, 4).cells for output in cell.get("outputs", [])]
    return [output.get("text") or ",".join(sorted(output["data"])) for output in outputs]


def ends(pid: int) -> bool:
    """Whether a process is gone, or is within ten seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_notebook_runs_in_its_folder_with_its_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REIDKIT_DATASET", "viper")  # the course's own choice goes before
    path = notebook(
        tmp_path,
        "import os\nprint(os.environ['REIDKIT_PROFILE'], os.environ['REIDKIT_DATASET'], os.getcwd())",
        "print(__name__)",
    )
    first, second = run(path)
    assert first.split() == ["smoke", "synthetic", str(tmp_path)] and second == "__main__\n"
    assert os.environ["REIDKIT_DATASET"] == "viper" and "REIDKIT_PROFILE" not in os.environ
    assert ends(int((tmp_path / "pid").read_text()))
    about = nbformat.read(tmp_path / "out" / path.name, 4).metadata["reidkit"]
    assert about == {"standing": "", "figures": []}


DRAW = "from matplotlib import pyplot as plt\nplt.plot([1, 2]);"
ALT = {"mystnb": {"image": {"alt": "A figure without a line."}}}


@pytest.mark.parametrize("warm", [pytest.param(True, marks=forked), False], ids=["forked", "plain"])
def test_figures_come_whatever_the_shell_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: bool) -> None:
    """In both kinds of kernels: a shell without a screen asks for Agg, which shows nothing in a notebook."""
    monkeypatch.setattr(warm_kernels, "WARM", warm)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    path = notebook(tmp_path, f"{DRAW}\nprint(plt.get_backend())")
    backend, shown = run(path)
    assert "inline" in backend and shown == "image/png,text/plain"
    assert os.environ["MPLBACKEND"] == "Agg"


def test_a_lesson_without_a_figure_that_it_draws_has_failed(tmp_path: Path) -> None:
    """Its name and the cell are said, what ran is kept; where the figure is there the lesson is whole."""
    path = notebook(tmp_path, "%matplotlib agg", DRAW)
    lesson = nbformat.read(path, 4)
    lesson.cells[2].metadata = ALT
    nbformat.write(lesson, path)
    with pytest.raises(InputError, match=r"05_own\.ipynb: cell 3 draws a figure, .* what ran is in .*failed\.ipynb"):
        run(path)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["05_own.failed.ipynb"]
    lesson.cells[1].source = "'nothing'"
    nbformat.write(lesson, path)
    assert run(path)[1] == "image/png,text/plain"
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["05_own.ipynb"]


@forked
def test_a_kernel_has_imported_before_it_starts(tmp_path: Path) -> None:
    seen = "import sys\nprint({'torch', 'reidkit.course', 'sklearn'} <= set(sys.modules), 'torch' in globals())"
    assert run(notebook(tmp_path, seen)) == ["True False\n"]


def test_what_one_notebook_does_is_unknown_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    run(notebook(tmp_path / "a", "import torch, reidkit\ntorch.manual_seed(3)\nreidkit.left = 1"))
    (tmp_path / "b").mkdir()
    says = "import torch, reidkit\nprint(hasattr(reidkit, 'left'), torch.initial_seed() == 3)"
    assert run(notebook(tmp_path / "b", says)) == ["False False\n"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_forked_kernel_can_use_the_gpu(tmp_path: Path) -> None:
    assert run(notebook(tmp_path, "import torch\nprint(torch.ones(2, device='cuda').sum().item())")) == ["2.0\n"]


@pytest.mark.parametrize(
    ("cell", "said"),
    [("1 / 0", "cell 2 raised ZeroDivisionError"), ("import os\nos._exit(3)", "DeadKernelError")],
)
def test_a_cell_that_fails(tmp_path: Path, cell: str, said: str) -> None:
    path = notebook(tmp_path, cell)
    with pytest.raises(InputError, match=said):
        run(path)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["05_own.failed.ipynb"]
    assert ends(int((tmp_path / "pid").read_text()))


COMMAND = """
if __name__ == "__main__":  # the kernel's process imports this file too
    import sys
    from pathlib import Path
    from reidkit.course import run, warm_kernels
    warm_kernels.IMPORTS = ["ipykernel.kernelapp"]
    run.execute(Path(sys.argv[1]), Path("out"), profile="smoke", dataset="synthetic", progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_course_that_is_stopped_takes_its_kernel_along(tmp_path: Path, how: signal.Signals) -> None:
    path = notebook(tmp_path, "import time\ntime.sleep(600)")
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    began = subprocess.Popen([sys.executable, script, path], cwd=tmp_path, stderr=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    assert within(120, pid.exists)
    time.sleep(0.5)  # the file may be there and empty, and the second cell not begun
    began.send_signal(how)
    began.wait(30)
    assert began.returncode != 0 and ends(int(pid.read_text()))
    assert not (tmp_path / "out" / path.name).exists()


def within(seconds: float, true: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()
