"""Time training: ``python benchmarks/training.py [--network edge]``.

Compares the batches and the training step of `emotion-train` with a plain loop (a torch Dataset
that augments one face at a time with torchvision's transforms, a loader process, the default
collation, fp32, no memory format), and with the network alone on a batch in memory. The faces are
drawn: their contents do not change the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from emotion_train.data.faces import Faces
from emotion_train.networks import build_network
from emotion_train.training.augmentation import AUGMENTATIONS, augment
from emotion_train.training.batches import AugmentedBatches, EpochBatches, TrainingBatch
from emotion_train.training.targets import make_label_targets
from harness import format_table, medians, ratios, take_turns
from results import ResultOptions, benchmark_command, draw_bars, report_result

CLASS_COUNT = 3
FACE_COUNT = 3072


class PlainFaces(Dataset[tuple[Tensor, int]]):
    """A simple data set: one face at a time, augmented by torchvision, with its label."""

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


@benchmark_command(__doc__, rounds=5)
@click.option("--network", default="edge", show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True)
def main(options: ResultOptions, network: str, batch_size: int, rounds: int) -> None:
    """Print a table of microseconds an image."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (FACE_COUNT, 48, 48), dtype=np.uint8)
    faces = Faces(pixels, np.arange(FACE_COUNT) % CLASS_COUNT, ("",) * FACE_COUNT)
    steps = FACE_COUNT // batch_size
    torch.manual_seed(0)
    torch.set_num_threads(1)

    def make_step(*, bf16: bool, channels_last: bool) -> Any:
        model = build_network(network, CLASS_COUNT)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters())

        def step(images: Tensor, targets: Tensor) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(images)
            loss = nn.functional.cross_entropy(logits.float(), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step

    def augmented_batches() -> Iterator[TrainingBatch]:
        batches = EpochBatches(faces, CLASS_COUNT, batch_size, seed=0)
        targets = make_label_targets(faces, CLASS_COUNT)
        augmented = AugmentedBatches(faces, targets, "strong", batches, torch.device("cpu"))
        while True:
            yield from augmented

    def repeat_forever(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    plain = repeat_forever(
        DataLoader(
            PlainFaces(faces),
            batch_size=batch_size,
            shuffle=True,
            num_workers=1,
            persistent_workers=True,
        )
    )
    batches = augmented_batches()
    images_in_memory = torch.from_numpy(pixels[:batch_size, None])
    targets_in_memory = torch.from_numpy(make_label_targets(faces, CLASS_COUNT)[:batch_size])
    plain_step = make_step(bf16=False, channels_last=False)
    our_step = make_step(bf16=False, channels_last=True)
    bf16_step = make_step(bf16=True, channels_last=True)

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
            augment(images_in_memory, strength, generator) for _ in range(steps)
        ],
        "the network alone": lambda: [
            our_step(images_in_memory, targets_in_memory) for _ in range(steps)
        ],
        "the network alone, bf16": lambda: [
            bf16_step(images_in_memory, targets_in_memory) for _ in range(steps)
        ],
    }
    seconds = take_turns(cases, rounds=rounds)
    count = steps * batch_size
    first = "plain DataLoader loop"
    rates = {name: 1e6 / value for name, value in medians(seconds, unit=1e6, count=count).items()}
    share = ratios(seconds, "the network alone, bf16", "emotion-train, bf16")[1]
    text = f"`{network}`, `strong`, batch {batch_size}, one arithmetic thread; the plain loop also "
    text += "has a loader process:\n\n"
    text += format_table(seconds, first, unit=1e6, heading="µs an image", count=count)
    text += "\n\n" + ", ".join(f"{name}: {rate:,.0f}/s" for name, rate in rates.items()) + "."
    text += f" With bf16 the network itself is {share:.0%} of the time."
    report_result(
        options,
        "training",
        text,
        higher={f"{name}, images a second": rate for name, rate in rates.items()},
        draw=lambda figure: draw_bars(figure, rates, "images a second"),
    )


if __name__ == "__main__":
    main()
