"""The networks, by name. A further one is a module here and one entry in `NETWORKS`.

A module gives ``build(classes, size)``, the network behind the scaling, and may give ``Scaling``,
where it wants another one than `PixelScaling`. This file is read for ``--help`` too: torch is
imported when a network is built.
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
    """Build a registered network with fresh weights from torch's global generator.

    Args:
        name: A name in `NETWORKS`.
        classes: Logits.
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
