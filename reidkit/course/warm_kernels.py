"""Kernels for the lessons that have imported before they start.

A notebook that only imports what lessons import takes 2.3 to 2.8 seconds in a forked kernel (11.9 the first, which
waits for the imports) and 12.0 to 13.1 in a plain one: `benchmarks/kernels.py`, two cores of an AMD EPYC with a
training beside it. On Linux one process imports torch, torchvision, pandas, scikit-learn and seaborn once, and the
kernel of every lesson is forked from it (the standard library's forkserver). That process computes nothing and touches
no GPU, so a fork is safe. Elsewhere a kernel starts as always.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.provisioning import LocalProvisioner

WARM = sys.platform == "linux"
INLINE = "module://matplotlib_inline.backend_inline"  # figures go into the notebook
# not the inline backend of matplotlib: it looks for its kernel when it is imported
IMPORTS = [
    *(f"reidkit.{module}" for module in ("attention", "course.exercises", "course.figures", "thresholds", "widgets")),
    "faiss", "fontTools.subset", "ipykernel.kernelapp", "ipykernel.zmqshell", "IPython.core.pylabtools", "jinja2",
    "matplotlib.backends.backend_pdf", "pytorch_grad_cam",
]  # fmt: skip


class OwnKernel(KernelSpecManager):
    """Always the Python that runs now, whatever kernels the machine has registered under the name python3."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        del kernel_name
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="reidkit", language="python")


def warm_up() -> None:
    """Begin to import what lessons import, in a process beside this one, unless that has been done."""
    if not WARM:
        return
    multiprocessing.set_forkserver_preload(IMPORTS)
    before = dict(os.environ)
    # matplotlib reads its backend when it is imported. And a library that asks for a GPU when it is imported must
    # not open it, or no fork could: torch then asks the driver's monitor
    os.environ |= {"MPLBACKEND": INLINE, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def manager(**talk: Any) -> AsyncKernelManager:
    """What starts a kernel and ends it; `talk` says over which transport one speaks with it."""
    made = AsyncKernelManager(kernel_spec_manager=OwnKernel(), **talk)
    if WARM:
        made.provisioner = Fork(kernel_id="", kernel_spec=made.kernel_spec, parent=made)
    return made


class Fork(LocalProvisioner):
    """Starts a kernel by a fork of the process that has imported all."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        warm_up()
        options = cmd[cmd.index("-f") :]
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=serve, args=(options, kwargs["env"], kwargs.get("cwd")))
        process.start()
        self.process = Started(process)  # type: ignore[assignment]
        self.pid = self.pgid = process.pid
        self.cwd = kwargs.get("cwd")
        return self.connection_info


def serve(options: list[str], env: dict[str, str], cwd: str | None) -> None:
    """A kernel, in the process that was forked for it."""
    os.setsid()  # a Ctrl-C at the terminal is for the course, which then ends its kernel
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd or ".")
    Thread(target=follow, args=(multiprocessing.parent_process(),), daemon=True).start()
    from ipykernel.kernelapp import launch_new_instance

    # the lessons' figures leave no rim to cut off, and looking for one means to draw each a second time
    uncut = "--InlineBackend.print_figure_kwargs={'bbox_inches': None}"
    launch_new_instance(argv=[*options, f"--IPKernelApp.parent_handle={os.getppid()}", uncut])


def follow(course: Any) -> None:
    """End this process when the course has ended, even if it was killed."""
    course.join()
    os._exit(1)


class Started:
    """A forked process that behaves like subprocess.Popen, as far as jupyter_client needs it."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess) -> None:
        self.process = process
        self.terminate, self.kill = process.terminate, process.kill

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self.process.exitcode

    def wait(self) -> int | None:
        """The exit status, when it has ended."""
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """A signal to the process alone."""
        if self.process.exitcode is None and self.process.pid is not None:
            os.kill(self.process.pid, number)
