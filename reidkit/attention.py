"""Where a network looks: its class activation maps, grad-cam's methods, and their scores against known body parts.

Everything here takes a trained network of any system and standardised images (B, 3, H, W), gives maps (B, H, W) of
the images' own size on the CPU, float32 from 0 to 1, and leaves the network as it was.

The score that is traced is the logit of a class less the mean of all classes of its question: a softmax knows
differences only, and in the binary view the answer "no" has no logit of its own. grad-cam's methods keep what speaks
for the class; the plain map ("cam") also shows, below its middle tones, what speaks against.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytorch_grad_cam as grad_cam
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cam import class_map, contrasts, merge, normalise
from .data import ImageSet, part_masks, standardise
from .errors import InputError, choose
from .synthetic import PARTS
from .systems import System
from .systems.aanet import attended

__all__ = [
    "METHODS", "PART_OF", "attribute_maps", "class_map", "class_maps", "energy", "identity_maps", "localisation",
    "merge", "merged_map", "normalise", "pair_maps", "part_masks", "pointing",
]  # fmt: skip

METHODS: dict[str, Any] = {
    "gradcam": grad_cam.GradCAM,
    "gradcam++": grad_cam.GradCAMPlusPlus,
    "xgradcam": grad_cam.XGradCAM,
    "hirescam": grad_cam.HiResCAM,
    "layercam": grad_cam.LayerCAM,
    "eigencam": grad_cam.EigenCAM,  # does not know the question: one map, of unknown sign, for every attribute
    "eigengradcam": grad_cam.EigenGradCAM,
    "scorecam": grad_cam.ScoreCAM,  # a forward pass for every channel of the map: hundreds an image
}
PART_OF = {  # what a localised attribute is seen by; gender and age are seen everywhere
    "hair": "hair", "hat": "hat", "up": "upper", "upcolor": "upper", "down": "lower", "downcolor": "lower",
    "clothes": "lower", "backpack": "backpack", "bag": "bag", "handbag": "handbag",
}  # fmt: skip
VISIBLE = 0.0025  # share of the image that a part must cover, 20 pixels of 128 x 64


# --- the network, and back ---------------------------------------------------------------------------------------


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Inside, a network in evaluation mode with frozen weights; outside it is as it was, gradients included."""
    modes = [(module, module.training) for module in network.modules()]
    weights = [(p, p.requires_grad, p.grad) for p in network.parameters()]
    network.eval()
    for p, _, _ in weights:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for p, flag, grad in weights:
            p.requires_grad_(flag)
            p.grad = grad


class _Asked(nn.Module):
    """A network as grad-cam calls one: images in, what is asked out."""

    def __init__(self, network: nn.Module, ask: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.ask = ask

    def forward(self, images: Tensor) -> Tensor:
        return self.ask(images)


def explain(
    network: System,
    images: Tensor,
    of: str,
    ask: Callable[[Tensor], Tensor],
    scores: Sequence[Callable[[Tensor], Tensor]],
    method: str = "gradcam",
) -> Tensor:
    """Maps of one of grad-cam's methods for any score of any output.

    Args:
        network: of any system, with frozen or free weights.
        images: (B, 3, H, W), standardised.
        of: "attributes" or "identity", whose last layers' maps are read, a mean over several.
        ask: images to (B, K).
        scores: for each image, its (K,) to a number.
        method: one of METHODS.
    Returns:
        (B, H, W).
    Raises:
        InputError: a system without maps, an unknown method.
    """
    layers = network.last_layers(of)
    if not layers:
        raise InputError(f"{network.name} has no maps to look at: choose a system that learns.")
    choose(method, METHODS, "method")
    pixels = images.detach().clone().requires_grad_()  # frozen weights: the gradient starts at the image
    with untouched(network), torch.enable_grad(), ExitStack() as stack:
        if len(layers) == 1:  # it starts at the one map that it is asked for: nobody reads those before it
            stack.enter_context(layers[0].register_forward_hook(lambda _, __, maps: maps.detach().requires_grad_()))
        cam = METHODS[method](model=_Asked(network, ask), target_layers=layers)
        stack.callback(cam.activations_and_grads.release)  # not grad-cam's `with`, which swallows an IndexError
        stack.enter_context(redirect_stderr(io.StringIO()))  # ScoreCAM draws a progress bar for every image
        maps = cam(pixels, list(scores))
    return torch.from_numpy(np.asarray(maps, dtype=np.float32))


def contrast(label: int) -> Callable[[Tensor], Tensor]:
    """The score of a class: its logit less the mean of all, (C,) to a number."""
    return lambda logits: logits[label] - logits.mean()


def _enlarged(maps: Tensor, images: Tensor) -> Tensor:
    """(B, h, w) to the images' own size, bilinear."""
    size = images.shape[-2:]
    return F.interpolate(maps.float()[:, None], size, mode="bilinear", align_corners=False)[:, 0].cpu()


# --- attributes --------------------------------------------------------------------------------------------------


def chosen_classes(network: System, images: Tensor) -> Tensor:
    """The class a network chooses for each image and task, (B, T) int64."""
    with untouched(network), torch.no_grad():
        return torch.stack([logits.argmax(1) for logits in network.answer(images)], 1)


def class_maps(network: System, images: Tensor, classes: Tensor | None = None) -> Tensor:
    """Class activation maps of every attribute, all in one product.

    Args:
        network: of a system with `classifiers`.
        images: (B, 3, H, W), standardised.
        classes: (B, T) int64 whose maps are wanted; None: those the network chooses.
    Returns:
        (B, T, h, w) in units of the logit, on the network's device, as large as its last map; 0 where the network
        says that it does not read (`System.reads`).
    Raises:
        InputError: a network whose attributes are not linear in a pooled map.
    """
    with untouched(network), torch.no_grad():
        features, weights = network.evidence(images)
        if classes is None:
            classes = chosen_classes(network, images)
    rows = [contrasts(w)[chosen] for w, chosen in zip(weights, classes.unbind(1), strict=True)]
    maps = class_map(features, torch.stack(rows, 1).detach())
    inside = read_by(network, maps)
    return maps if inside is None else maps.masked_fill(~inside, 0)


def read_by(network: System, maps: Tensor) -> Tensor | None:
    """Where the network reads for each task, (T, h, 1) bool beside `class_maps` (B, T, h, w); None: everywhere."""
    rows = network.reads(maps.shape[2])
    return None if rows is None else rows[..., None].to(maps.device)


def attribute_maps(
    network: System, images: Tensor, task: str, method: str = "gradcam", classes: Tensor | None = None
) -> Tensor:
    """Where a network sees an attribute.

    Args:
        network: of a system that answers attributes.
        images: (B, 3, H, W), standardised.
        task: by name.
        method: "cam" or one of METHODS.
        classes: (B,) int64, whose evidence is wanted; None: the class the network chooses for each image.
    Returns:
        (B, H, W), each from 0 to 1.
    Raises:
        InputError: a task the network does not answer, an unknown method, "cam" where there is none.
    """
    tasks = network.tasks
    if task not in tasks:
        known = f"it answers {', '.join(tasks)}." if tasks else "it answers none."
        raise InputError(f"this network was not asked about {task!r}: {known}")
    choose(method, ["cam", *METHODS], "method")
    t = tasks.index(task)
    if classes is None:
        classes = chosen_classes(network, images)[:, t]
    if method == "cam":
        every = torch.zeros(len(images), len(tasks), dtype=torch.int64, device=images.device)
        every[:, t] = classes
        maps = class_maps(network, images, every)
        return _enlarged(normalise(maps, read_by(network, maps))[:, t], images)
    scores = [contrast(label) for label in classes.tolist()]
    return explain(network, images, "attributes", lambda x: network.answer(x)[t], scores, method)


def merged_map(network: System, images: Tensor) -> Tensor:
    """The attribute attention map of paper 002: the network's own, or the same made of its class activation maps.

    Returns:
        (B, H, W), from 0 to 1, 0 where no attribute looks.
    """
    with untouched(network), torch.no_grad():
        own = network.attention_map(images)
    if own is None:
        maps, tasks = class_maps(network, images), attended(network.tasks)
        inside = read_by(network, maps)
        own = merge(maps[:, tasks], None if inside is None else inside[tasks])
    return _enlarged(own, images)


# --- people ------------------------------------------------------------------------------------------------------


def identity_maps(network: System, images: Tensor, method: str = "gradcam", label: Tensor | None = None) -> Tensor:
    """Where a network sees who it is.

    Args:
        network: of a system that classifies people.
        images: (B, 3, H, W), standardised.
        method: one of METHODS.
        label: (B,) int64, whose evidence is wanted; None: the training person each image looks most like.
    Returns:
        (B, H, W), each from 0 to 1.
    Raises:
        InputError: a network that does not classify people.
    """
    with untouched(network), torch.no_grad():
        logits = network.identify(images)
    if not logits.shape[1]:
        raise InputError(
            "this network does not classify people, or was trained without identity: use pair_maps, which asks what "
            "makes two images alike."
        )
    labels = logits.argmax(1) if label is None else label
    return explain(network, images, "identity", network.identify, [contrast(k) for k in labels.tolist()], method)


def pair_maps(network: System, first: Tensor, second: Tensor, method: str = "gradcam") -> tuple[Tensor, Tensor]:
    """What makes two images alike: the cosine of their descriptors, traced back into each of them.

    Args:
        network: of any system.
        first: (B, 3, H, W), standardised.
        second: (B, 3, H, W), the other images of the pairs.
        method: one of METHODS.
    Returns:
        two of (B, H, W), each map from 0 to 1.
    """
    with untouched(network), torch.no_grad():
        codes = [network.describe(images) for images in (first, second)]

    def alike(images: Tensor, others: Tensor) -> Tensor:
        scores = [partial(F.cosine_similarity, other, dim=0) for other in others]
        return explain(network, images, "identity", network.describe, scores, method)

    return alike(first, codes[1]), alike(second, codes[0])


# --- scores ------------------------------------------------------------------------------------------------------


def pointing(maps: Tensor, inside: Tensor) -> Tensor:
    """The pointing game (Zhang et al. 2018): whether the highest place of a map lies on the part.

    Of several equally high places one is drawn, so that a map that says nothing hits with the part's share of it.

    Args:
        maps: (N, H, W).
        inside: (N, H, W) bool.
    Returns:
        (N,) probability, 0 to 1.
    """
    top = maps == maps.amax((1, 2), keepdim=True)
    return (top & inside).sum((1, 2)) / top.sum((1, 2))


def energy(maps: Tensor, inside: Tensor) -> Tensor:
    """Share of a map's sum that lies on the part (Wang et al. 2020); of a map of zeros the part's share of it.

    Args:
        maps: (N, H, W), 0 or more.
        inside: (N, H, W) bool.
    Returns:
        (N,), 0 to 1.
    """
    total = maps.sum((1, 2))
    own = (maps * inside).sum((1, 2)) / torch.where(total > 0, total, 1)
    return torch.where(total > 0, own, inside.float().mean((1, 2)))


def centre_box(n: int, height: int, width: int) -> Tensor:
    """The guess that needs no network: 1 in the middle half of height and width, (n, height, width)."""
    box = torch.zeros(n, height, width)
    box[:, height // 4 : height - height // 4, width // 4 : width - width // 4] = 1
    return box


def localisation(
    network: System,
    images: ImageSet,
    parts: Tensor,
    *,
    methods: Sequence[str] = ("gradcam",),
    tasks: Sequence[str] | None = None,
    batch: int = 32,
) -> pd.DataFrame:
    """How well each method finds the part that an attribute is seen by, beside two guesses without a network.

    Args:
        network: of a system that answers attributes.
        images: synthetic people.
        parts: (N, H, W), their `part_masks` at the images' size.
        methods: "cam" or of METHODS.
        tasks: by name; None: all that the network answers and that have a part.
        batch: images at once.
    Returns:
        a row a task and method: task, part, method, images, left_out (the part is not visible there), and in percent
        pointing, energy, area (mean share of the image that the part covers; what a uniform map scores).
    Raises:
        InputError: part maps of another size; no attribute with a part.
    """
    if parts.shape != (len(images), *images.pixels.shape[-2:]):
        size = tuple(images.pixels.shape[-2:])
        raise InputError(f"the part maps are {tuple(parts.shape)}, the {len(images)} images {size}: give part_masks.")
    asked = [task for task in (tasks or network.tasks) if task in PART_OF]
    if not asked:
        raise InputError(f"none of these attributes has a part: {', '.join(PART_OF)} have one.")
    device = next(network.parameters()).device
    batches = images.pixels.split(batch)
    chosen = torch.cat([chosen_classes(network, standardise(pixels.to(device))) for pixels in batches])
    guesses = {"centre box": centre_box(1, *parts.shape[1:]), "uniform": torch.ones(1, *parts.shape[1:])}
    rows = []
    for task in asked:
        t = network.tasks.index(task)
        inside = parts == PARTS[PART_OF[task]]
        area = inside.float().mean((1, 2))
        seen = (area >= VISIBLE).nonzero()[:, 0]
        counts = {"images": len(seen), "left_out": len(images) - len(seen)}
        for method in (*methods, *guesses):
            scores = [torch.empty(2, 0)]  # a mean of nothing is NaN
            for index in seen.split(batch) if len(seen) else ():
                if method in guesses:
                    maps = guesses[method].expand(len(index), -1, -1)
                else:
                    pixels = standardise(images.pixels[index].to(device))
                    maps = attribute_maps(network, pixels, task, method, chosen[index.to(device), t])
                scores.append(torch.stack([pointing(maps, inside[index]), energy(maps, inside[index])]))
            hit, share = torch.cat(scores, 1).mean(1).tolist()
            percent = {"pointing": 100 * hit, "energy": 100 * share, "area": 100 * area[seen].mean().item()}
            rows.append({"task": task, "part": PART_OF[task], "method": method} | counts | percent)
    return pd.DataFrame(rows)
