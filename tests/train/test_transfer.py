from __future__ import annotations

import pytest
import torch

from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.checkpoints.transfer import average_weights, transfer_weights
from emotion_train.errors import RunError
from emotion_train.networks import build_network
from emotion_train.networks.face_network import count_multiply_adds

SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def make_checkpoint(network: str, labels: tuple[str, ...]) -> Checkpoint:
    torch.manual_seed(0)
    built = build_network(network, len(labels))
    return Checkpoint(network, labels, built.state_dict(), multiply_adds=count_multiply_adds(built))


@pytest.mark.parametrize("network", ["baseline", "edge"])
@pytest.mark.parametrize("classes", [("happy", "sad", "surprise"), SEVEN[::-1]])
def test_shared_classes_keep_their_logits(network: str, classes: tuple[str, ...]) -> None:
    seven = make_checkpoint(network, SEVEN)
    fresh = build_network(network, len(classes))
    transfer_weights(seven, fresh, classes)
    pixels = torch.randint(0, 256, (4, 1, 48, 48), dtype=torch.uint8)
    columns = [SEVEN.index(name) for name in classes]
    expected = seven.build()(pixels)[:, columns]
    assert torch.allclose(fresh.eval()(pixels), expected, atol=1e-5)


def test_a_new_class_has_fresh_weights() -> None:
    three = make_checkpoint("edge", ("happy", "sad", "surprise"))
    fresh = build_network("edge", 2)
    before = fresh.state_dict()
    last = [name for name in before if name.endswith("weight")][-1]
    new_row = before[last][1].clone()
    transfer_weights(three, fresh, ("sad", "bored"))
    assert torch.equal(fresh.state_dict()[last][0], three.weights[last][1])
    assert torch.equal(fresh.state_dict()[last][1], new_row)


def test_another_network_is_refused() -> None:
    with pytest.raises(
        RunError, match="of the network baseline on 48×48 pixels, the run trains edge"
    ):
        transfer_weights(make_checkpoint("baseline", SEVEN), build_network("edge", 3), SEVEN[:3])


def test_several_starts_are_averaged() -> None:
    first = make_checkpoint("edge", SEVEN)
    second = Checkpoint("edge", SEVEN, {n: 3 * v for n, v in first.weights.items()})
    for name, value in average_weights([first, second]).weights.items():
        assert value.dtype == first.weights[name].dtype
        assert torch.allclose(value.float(), 2 * first.weights[name].float())
    with pytest.raises(RunError, match="one network and its classes"):
        average_weights([first, make_checkpoint("edge", SEVEN[:3])])


def test_weights_of_another_version_are_refused() -> None:
    old = make_checkpoint("edge", SEVEN)
    name = next(iter(old.weights))
    old.weights["renamed"] = old.weights.pop(name)
    with pytest.raises(RunError, match="than this version"):
        transfer_weights(old, build_network("edge", 3), SEVEN[:3])
