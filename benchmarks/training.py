"""Time training: ``python benchmarks/training.py [--network edge]``.

Images a second through `emotion-train`'s own batches and step, beside a plain loop (a torch
Dataset that augments a face at a time with torchvision's transforms, a loader process, the default
collation, fp32, no memory format), and beside the network alone on a batch that is already there.
Faces are drawn: what they show does not change the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from emotion_train.data.faces import Faces
from emotion_train.networks import build_network
from emotion_train.training.augmentation import AUGMENTATIONS, augment
from emotion_train.training.batches import AugmentedBatches, EpochBatches
from emotion_train.training.targets import make_label_targets
from harness import medians, ratios, table, take_turns
from results import draw_bars, finish, options

CLASSES = 3
FACES = 3072


class PlainFaces(Dataset[tuple[Tensor, int]]):
    """What one writes first: one face at a time, augmented by torchvision, with its label."""

    def __init__(self, faces: Faces) -> None:
        # The transforms of `strong`.
        self._faces = faces
        self._augment = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.Pad(12, padding_mode="reflect"),
                v2.RandomAffine(
                    20,
                    translate=(0.08, 0.08),
                    scale=(0.8, 1.25),
                    shear=8,
                    interpolation=v2.InterpolationMode.BILINEAR,
                ),
                v2.CenterCrop(48),
                v2.ColorJitter(0.5, 0.5),
                v2.RandomApply([v2.GaussianBlur(3, (0.1, 1.0))], 0.2),
                v2.RandomErasing(0.5, scale=(0.02, 0.2), value=127),
            ]
        )

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = torch.from_numpy(self._faces.pixels[index])[None, None]
        return self._augment(pixels)[0], int(self._faces.labels[index])


def main() -> None:
    """Print a table of milliseconds a batch."""
    parser = options(__doc__, rounds=5)
    parser.add_argument("--network", default="edge")
    parser.add_argument("--batch-size", type=int, default=128)
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (FACES, 48, 48), dtype=np.uint8)
    faces = Faces(pixels, np.arange(FACES) % CLASSES, ("",) * FACES)
    size, steps = chosen.batch_size, FACES // chosen.batch_size
    torch.manual_seed(0)
    torch.set_num_threads(1)

    def trainer(bf16: bool, channels_last: bool) -> Any:
        network = build_network(chosen.network, CLASSES)
        if channels_last:
            network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters())

        def step(images: Tensor, targets: Tensor) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(images)
            loss = nn.functional.cross_entropy(logits.float(), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step

    def ours() -> Iterator[tuple[Tensor, Tensor, int]]:
        batches = EpochBatches(faces, CLASSES, size, seed=0)
        targets = make_label_targets(faces, CLASSES)
        augmented = AugmentedBatches(faces, targets, "strong", batches, torch.device("cpu"))
        while True:
            yield from augmented

    def endless(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    plain = endless(
        DataLoader(
            PlainFaces(faces),
            batch_size=size,
            shuffle=True,
            num_workers=1,
            persistent_workers=True,
        )
    )
    batches = ours()
    ready = torch.from_numpy(pixels[:size, None])
    ready_targets = torch.from_numpy(make_label_targets(faces, CLASSES)[:size])
    plain_step, our_step, bf16_step = (
        trainer(False, False),
        trainer(False, True),
        trainer(True, True),
    )

    def run(batches: Iterator[Any], step: Any) -> None:
        for _ in range(steps):
            images, targets, *_ = next(batches)
            step(images.to(memory_format=torch.channels_last), targets)

    def run_plain() -> None:
        for _ in range(steps):
            plain_step(*next(plain))

    strength = AUGMENTATIONS["strong"]
    assert strength is not None
    generator = torch.Generator().manual_seed(0)
    cases = {
        "plain DataLoader loop": run_plain,
        "emotion-train": lambda: run(batches, our_step),
        "emotion-train, bf16": lambda: run(batches, bf16_step),
        "the augmentation alone": lambda: [
            augment(ready, strength, generator) for _ in range(steps)
        ],
        "the network alone": lambda: [our_step(ready, ready_targets) for _ in range(steps)],
        "the network alone, bf16": lambda: [bf16_step(ready, ready_targets) for _ in range(steps)],
    }
    seconds = take_turns(cases, rounds=chosen.rounds)
    count = steps * size
    first = "plain DataLoader loop"
    rates = {name: 1e6 / value for name, value in medians(seconds, unit=1e6, count=count).items()}
    share = ratios(seconds, "the network alone, bf16", "emotion-train, bf16")[1]
    text = f"`{chosen.network}`, `strong`, batch {size}, one arithmetic thread; the plain loop has "
    text += "a loader process beside it:\n\n"
    text += table(seconds, first, unit=1e6, heading="µs an image", count=count)
    text += "\n\n" + ", ".join(f"{name}: {rate:,.0f}/s" for name, rate in rates.items()) + "."
    text += f" With bf16 the network itself is {share:.0%} of the time."
    finish(
        chosen,
        "training",
        text,
        higher={f"{name}, images a second": rate for name, rate in rates.items()},
        draw=lambda figure: draw_bars(figure, rates, "images a second"),
    )


if __name__ == "__main__":
    main()
