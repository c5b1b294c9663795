from __future__ import annotations

import pytest
import torch

from emotion_train.networks import NETWORKS, build_network
from emotion_train.networks.face_network import count_multiply_adds, count_parameters


def test_the_reference_network_has_1494851_parameters_for_three_classes() -> None:
    assert count_parameters(build_network("baseline", 3)) == 1_494_851


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("classes", "size"), [(2, 48), (7, 48), (3, 32), (3, 47), (3, 100)])
def test_every_network_maps_pixels_to_logits(name: str, classes: int, size: int) -> None:
    network = build_network(name, classes, size).eval()
    pixels = torch.randint(0, 256, (3, 1, size, size), dtype=torch.uint8)
    logits = network(pixels)
    assert logits.shape == (3, classes)
    assert logits.dtype == torch.float32


def test_the_edge_network_has_a_sixth_of_the_multiply_adds() -> None:
    assert count_multiply_adds(build_network("baseline", 3)) == 75_862_400
    edge = build_network("edge", 3)
    assert count_multiply_adds(edge) <= 12e6
    assert count_parameters(edge) <= 600_000


def test_the_edge_network_ignores_brightness_and_contrast() -> None:
    torch.manual_seed(0)
    edge = build_network("edge", 3).eval()
    face = torch.randint(60, 120, (1, 1, 48, 48)).float()
    bright = edge(face * 1.5 + 40)
    assert torch.allclose(edge(face), bright, atol=0.02)


def test_scaling_is_fitted_to_the_training_pixels() -> None:
    network = build_network("baseline", 3)
    pixels = torch.randint(0, 256, (20, 48, 48), dtype=torch.uint8)
    network.scaling.fit(pixels)
    scaled = network.scaling(pixels)
    assert scaled.mean().item() == pytest.approx(0, abs=1e-4)
    assert scaled.std().item() == pytest.approx(1, abs=1e-3)


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(KeyError, match="no network 'vast'"):
        build_network("vast", 3)
