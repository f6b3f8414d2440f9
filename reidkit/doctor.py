"""What is installed, which device is used, what is wrong and how to mend it. Imports nothing heavy itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from .errors import InputError

FREE_GIB = 5  # what the course, its data and its runs take with room to spare


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    level: str  # "ok", "warning" or "error"
    what: str
    sentence: str


def python() -> Finding:
    """The interpreter against the oldest one supported."""
    interpreter = f"{sys.version.split()[0]} in {sys.prefix}"
    if sys.version_info < (3, 11):  # noqa: UP036 - a checkout can be run without pip's own check
        return Finding("error", "python", f"{interpreter}: reidkit needs 3.11 or newer, make an environment with one.")
    return Finding("ok", "python", interpreter)


def package(need: Requirement) -> Finding:
    """One dependency against the range it is needed in."""
    mend = f"pip install '{need.name}{need.specifier}'"
    try:
        installed = version(need.name)
    except PackageNotFoundError:
        return Finding("error", need.name, f"is not installed: {mend}")
    if need.specifier.contains(installed, prereleases=True):
        return Finding("ok", need.name, installed)
    return Finding("error", need.name, f"{installed} is outside {need.specifier}: {mend}")


def packages() -> list[Finding]:
    """Every dependency that is not an extra."""
    needs = map(Requirement, requires("reidkit") or [])
    return [package(need) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]


def speak(code: str) -> tuple[bool, str]:
    """Run a line of Python in a process of its own, so that a broken library cannot take the doctor along."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    text = (done.stdout if done.returncode == 0 else done.stderr).strip()
    return done.returncode == 0, text.splitlines()[-1] if text else f"exit status {done.returncode}"


def torch_pair() -> Finding:
    """torch and torchvision must be of one build: no installer sees it when they are not."""
    ok, text = speak("import torch, torchvision as tv; tv.ops.nms; print(torch.__version__, tv.__version__)")
    if ok:
        return Finding("ok", "torch and torchvision", f"{text} import together")
    if "torchvision::nms" in text:
        text = "they are of different builds (a CPU wheel of one beside a CUDA wheel of the other)"
    mend = "Install both anew, from one place: pip install --force-reinstall -c constraints.txt torch torchvision"
    return Finding("error", "torch and torchvision", f"do not import together: {text}. {mend}")


def device() -> Finding:
    """Where trainings will run."""
    ok, text = speak(
        "import torch, reidkit.devices as t; r = t.Recipe(); f = t.fabric_for(r); "
        "name = torch.cuda.get_device_name() if f.device.type == 'cuda' else f'{torch.get_num_threads()} threads'; "
        "print(f'{f.device} ({name}), {t.precision_of(r)}')"
    )
    return Finding("ok" if ok else "error", "device", text)


def disk(folder: Path) -> Finding:
    """Room for data and runs."""
    free = shutil.disk_usage(folder).free / 2**30
    if free < FREE_GIB:
        return Finding("warning", "disk", f"{free:.1f} GiB free at {folder}: the quick course wants {FREE_GIB}.")
    return Finding("ok", "disk", f"{free:.0f} GiB free at {folder}")


def memory() -> Finding:
    """The floor the course is measured on is 2 cores and 24 GiB; half of that still does `quick`."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("ok", "cores", str(os.cpu_count()))
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return Finding("warning" if gib < 6 else "ok", "cores and memory", f"{os.cpu_count()} cores, {gib:.0f} GiB")


def checkout() -> list[Finding]:
    """The lessons, which live in the checkout and not in the package, and the benchmarks; a missing one is no fault."""
    from .course import here, lessons
    from .images import CARDS, default_root

    try:
        notebooks = Finding("ok", "lessons", f"{len(lessons())} in {lessons()[0].parent}")
    except InputError as error:
        notebooks = Finding("warning", "lessons", str(error))
    present = [name for name in CARDS if here(name)]
    absent = [name for name in CARDS if name not in present]
    text = f"here: {', '.join(present) or 'none'}; not here: {', '.join(absent)} (`reidkit data list` says more)"
    return [notebooks, Finding("ok", "data sets", f"{text}; looked for in {default_root('market1501').parent}")]


def examine() -> list[Finding]:
    """All findings, in the order a reader wants them."""
    findings = [python(), *packages(), torch_pair()]
    usable = not any(finding.level == "error" for finding in findings)  # what follows needs the libraries
    return [*findings, device(), memory(), disk(Path.cwd()), *checkout()] if usable else findings
