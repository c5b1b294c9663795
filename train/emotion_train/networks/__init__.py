"""The networks, by name. To add one, write a module here and an entry in `NETWORKS`.

A module defines ``build(classes, size)``, the network without its input scaling, and may define
``Scaling`` to replace `PixelScaling`. ``--help`` loads this file too, so torch is imported only
when a network is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emotion_train.networks.face_network import FaceNetwork

NETWORKS: dict[str, str] = {
    "baseline": "six 3×3 convolutions and three linear layers, 1.49 M parameters",
    "edge": "five 3×3 convolutions after an early stride and two linear layers, 0.49 M parameters",
    "wide": "edge with twice the channels, a teacher for it, 1.3 M parameters",
}


def build_network(name: str, classes: int, size: int = 48) -> FaceNetwork:
    """Return a network with random weights, drawn from torch's global generator.

    Args:
        name: A name in `NETWORKS`.
        classes: Number of classes.
        size: Side of the faces, in pixels, at least 32.

    Raises:
        KeyError: No network has that name.
    """
    from importlib import import_module

    from emotion_train.networks.face_network import FaceNetwork
    from emotion_train.networks.scaling import PixelScaling

    if name not in NETWORKS:
        raise KeyError(f"no network {name!r}; there are {', '.join(NETWORKS)}")
    module = import_module(f"{__name__}.{name}")
    scaling = getattr(module, "Scaling", PixelScaling)()
    return FaceNetwork(name, size, scaling, module.build(classes, size))
