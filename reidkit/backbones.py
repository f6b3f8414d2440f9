"""Backbones: AlexNet and the ResNet family as (feature map, channels, stride), random or pretrained."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from .errors import InputError

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
BACKBONES = ("alexnet", *RESNETS)
# What torchvision publishes: the first weights, which the papers of 2017 to 2020 started from; and later ones, of
# another training, which transfer otherwise
PUBLISHED = {"torchvision": "IMAGENET1K_V1", "torchvision-v2": "IMAGENET1K_V2"}
SMALL = 24  # places of a map, up to which a CPU multiplies bf16 windows sooner than it convolves them


class Backbone(nn.Module):
    """Images (B, 3, H, W) to a feature map (B, channels, H / stride, W / stride).

    A ResNet pads its rim and rounds up; AlexNet does not: its map has (H - 31) // stride rows.

    `stages` are the steps in order, by the names papers use (`stem`, `layer1` ... or `conv1` ...), so that a system
    can share some of them and copy the rest. `top` are AlexNet's two fully connected layers, `fc6` and `fc7`, maps to
    (B, 4096): no part of the backbone, but of a system that takes them.
    """

    def __init__(
        self, name: str, stages: nn.ModuleDict, channels: int, stride: int, top: dict[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.top = top or {}  # a plain dict, or torch would count them in
        self.name = name
        self.stages = stages
        self.channels = channels
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for stage in self.stages.values():
            x = stage(x)
        return x  # (B, Z, H / stride, W / stride)


class Convolution(nn.Conv2d):
    """A convolution that a CPU computes as a matrix product in bf16 where its map is small.

    On the maps of small images oneDNN's bf16 convolutions spend more time on rearranging weights than on multiplying
    them, most of all in the gradient of the weights. With the windows copied side by side and multiplied a step is
    shorter (`benchmarks/steps.py --profile quick`, with and without `--small 0`). The sums are the same, rounded
    elsewhere: the gradient of the input is a sum over the windows in bf16.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, h, w)."""
        (kernel, *_), (stride, *_) = self.kernel_size, self.stride
        pad = int(self.padding[0])
        height, width = ((n + 2 * pad - kernel) // stride + 1 for n in input.shape[2:])
        native = input.device.type != "cpu" or not torch.is_autocast_enabled("cpu")
        if native or kernel == 1 or height * width > SMALL:
            return super().forward(input)
        padded = F.pad(input.permute(0, 2, 3, 1), (0, 0, pad, pad, pad, pad))
        down, across = stride * (height - 1) + 1, stride * (width - 1) + 1
        corners = [(i, j) for i in range(kernel) for j in range(kernel)]
        windows = torch.cat([padded[:, i : i + down : stride, j : j + across : stride] for i, j in corners], -1)
        rows = self.weight.permute(0, 2, 3, 1).flatten(1)  # (out, kernel * kernel * in), in memory already so
        return F.linear(windows, rows, self.bias).permute(0, 3, 1, 2)


def build(name: str = "resnet18", pretrained: str = "none", last_stride: int = 2) -> Backbone:
    """A backbone without its classifier.

    Args:
        name: one of BACKBONES.
        pretrained: "none" for random weights; "torchvision" for its first ImageNet weights, those that papers of 2017
            to 2020 started from, "torchvision-v2" for its second (downloaded once by torchvision, which checks their
            hash); or the path of a local .safetensors or .pth file of the same
            network; or the folder of a finished run, whose backbone is taken over.
        last_stride: stride of a ResNet's last stage; 1 doubles the map's height and width (Sun et al. 2018).
    Raises:
        InputError: unknown name, weights that cannot be downloaded, read or do not fit.
    """
    if name not in BACKBONES:
        raise InputError(f"backbone {name!r} is not known: choose one of {', '.join(BACKBONES)}.")
    if last_stride not in (1, 2):
        raise InputError(f"last_stride is {last_stride}: a ResNet's last stage has stride 1 or 2.")
    network = getattr(models, name)(weights=None)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.__class__ = Convolution  # all of these are square, without groups or holes
    folder = Path(pretrained).expanduser()
    of_run = pretrained not in ("none", *PUBLISHED) and folder.is_dir()
    if pretrained != "none" and not of_run:
        network.load_state_dict(weights(name, pretrained), strict=True)
    if name == "alexnet":
        backbone = Backbone(name, alexnet_stages(network), channels=256, stride=32, top=alexnet_top(network))
    else:
        if last_stride == 1:
            open_last_stage(network.layer4)
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        layers = {f"layer{i}": network.get_submodule(f"layer{i}") for i in range(1, 5)}
        stages = nn.ModuleDict({"stem": stem, **layers})
        backbone = Backbone(name, stages, network.fc.in_features, 16 * last_stride)
    if of_run:
        take_over(backbone, folder)
    return backbone


def take_over(backbone: Backbone, run: Path) -> None:
    """Give a backbone the weights of a finished run's; InputError where that run has no such backbone."""
    try:
        state = load_file(run / "model.safetensors")
        own = {key.removeprefix("backbone."): v for key, v in state.items() if key.startswith("backbone.")}
        backbone.load_state_dict(own)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{run} holds no run with a {backbone.name} to take over ({reason}): give the folder of a finished run."
        ) from None


def alexnet_stages(network: nn.Module) -> nn.ModuleDict:
    """AlexNet's five convolutions, each with its ReLU and pooling."""
    features: nn.Sequential = network.features  # type: ignore[assignment]
    starts = [i for i, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]
    ends = [*starts[1:], len(features)]
    return nn.ModuleDict({f"conv{n}": features[a:b] for n, (a, b) in enumerate(zip(starts, ends, strict=True), 1)})


def alexnet_top(network: nn.Module) -> dict[str, nn.Module]:
    """AlexNet's first two fully connected layers, each with its dropout and ReLU; 6 x 6 places, however many came."""
    classifier: nn.Sequential = network.classifier  # type: ignore[assignment]
    places: nn.Module = network.avgpool  # type: ignore[assignment]
    return {"fc6": nn.Sequential(places, nn.Flatten(), *classifier[:3]), "fc7": nn.Sequential(*classifier[3:6])}


def open_last_stage(layer4: nn.Module) -> None:
    """Take the down-sampling out of a ResNet's last stage; the weights stay valid."""
    for module in layer4.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)


def weights(name: str, source: str) -> dict[str, Tensor]:
    """The state dict of torchvision's network `name`: one of PUBLISHED, or a local file."""
    if source in PUBLISHED:
        there = models.get_model_weights(name).__members__
        if PUBLISHED[source] not in there:
            raise InputError(f"torchvision has no second ImageNet weights of {name}: give pretrained='torchvision'.")
        try:
            state = there[PUBLISHED[source]].get_state_dict(progress=True, check_hash=True)
        except (URLError, OSError, RuntimeError) as error:
            cache = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")) / "hub" / "checkpoints"
            raise InputError(
                f"the ImageNet weights of {name} could not be downloaded ({error}): connect once, or put the file "
                f"into {cache} or anywhere and give its path as pretrained, or train from scratch with "
                "pretrained=none."
            ) from None
        return dict(state)
    path = Path(source).expanduser()
    if not path.is_file():
        raise InputError(
            f"pretrained weights {str(path)!r} are not there: give 'none', 'torchvision', 'torchvision-v2' "
            "or the path of an existing .safetensors or .pth file."
        )
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{path} holds no readable weights ({type(error).__name__}): download it again.") from None
    except Exception as error:  # weights_only refuses anything that is more than tensors
        raise InputError(
            f"{path} is refused, it holds more than tensors ({type(error).__name__}): save the state dict alone, "
            "best as .safetensors."
        ) from None
    own = getattr(models, name)(weights=None).state_dict()
    state = dict(state) if isinstance(state, dict) else {}
    # the classifier is thrown away in any case, so files without one, or with another number of classes, will do;
    # of AlexNet's, two layers of three may be used
    head = "classifier." if name == "alexnet" else "fc."
    mend = {k: v for k, v in own.items() if k.startswith(head) and (k not in state or state[k].shape != v.shape)}
    state |= mend
    wrong = sorted(set(own) ^ set(state)) or [k for k in own if own[k].shape != state[k].shape]
    if wrong:
        raise InputError(
            f"{path} does not hold a {name}: {len(wrong)} tensors are missing, extra or of another shape, "
            f"{wrong[0]!r} for one."
        )
    return state
