"""Time training: ``python benchmarks/training.py [--network edge]``.

Images a second through `emotion-train`'s own loader and step, beside a plain loop (a torch
Dataset that augments a face at a time with the very same transforms, the default collation,
fp32, no memory format), and beside the network alone on a batch that is already there. Faces are
drawn: what they show does not change the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from emotion_train.augmentation import build_augmentation
from emotion_train.batches import EpochBatches, build_loader
from emotion_train.faces import Faces
from emotion_train.networks import build_network
from emotion_train.targets import label_targets
from harness import medians, ratios, table, take_turns
from results import draw_bars, finish, options

CLASSES = 3
FACES = 3072


class PlainFaces(Dataset[tuple[Tensor, int]]):
    """What one writes first: one face at a time, augmented, with its label."""

    def __init__(self, faces: Faces, augmentation: str) -> None:
        self._faces, self._augment = faces, build_augmentation(augmentation)

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = torch.from_numpy(self._faces.pixels[index])[None, None]
        return self._augment(pixels)[0], int(self._faces.labels[index])


def main() -> None:
    """Print a table of milliseconds a batch."""
    parser = options(__doc__, rounds=5)
    parser.add_argument("--network", default="edge")
    parser.add_argument("--augmentation", default="strong")
    parser.add_argument("--batch-size", type=int, default=128)
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (FACES, 48, 48), dtype=np.uint8)
    faces = Faces(pixels, np.arange(FACES) % CLASSES, ("",) * FACES)
    size, steps = chosen.batch_size, FACES // chosen.batch_size
    torch.manual_seed(0)
    one_thread = max(1, torch.get_num_threads() // 2)
    torch.set_num_threads(one_thread)  # what emotion-train leaves beside one loader worker

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

    def ours(group: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        batches = EpochBatches(faces, CLASSES, size, seed=0)
        targets = label_targets(faces, CLASSES)
        loader = build_loader(
            faces, targets, chosen.augmentation, batches, 1, group=group, pin_memory=False
        )
        while True:
            yield from loader

    def endless(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    plain = endless(
        DataLoader(
            PlainFaces(faces, chosen.augmentation),
            batch_size=size,
            shuffle=True,
            num_workers=1,
            persistent_workers=True,
        )
    )
    single, grouped = ours(1), ours(4)
    ready = torch.from_numpy(pixels[:size, None])
    ready_targets = torch.from_numpy(label_targets(faces, CLASSES)[:size])
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

    cases = {
        "plain DataLoader loop": run_plain,
        "emotion-train": lambda: run(single, our_step),
        "emotion-train, bf16, groups of 4": lambda: run(grouped, bf16_step),
        "the network alone": lambda: [our_step(ready, ready_targets) for _ in range(steps)],
        "the network alone, bf16": lambda: [bf16_step(ready, ready_targets) for _ in range(steps)],
    }
    seconds = take_turns(cases, rounds=chosen.rounds)
    count = steps * size
    first = "plain DataLoader loop"
    rates = {name: 1e6 / value for name, value in medians(seconds, unit=1e6, count=count).items()}
    share = ratios(seconds, "the network alone, bf16", "emotion-train, bf16, groups of 4")[1]
    text = f"`{chosen.network}`, `{chosen.augmentation}`, batch {size}, one loader worker, "
    text += f"{one_thread} arithmetic thread{'s' * (one_thread > 1)}:\n\n"
    text += table(seconds, first, unit=1e6, heading="µs an image", count=count)
    text += "\n\n" + ", ".join(f"{name}: {rate:,.0f}/s" for name, rate in rates.items()) + "."
    text += f" With bf16 and groups the network itself is {share:.0%} of the time."
    finish(
        chosen,
        "training",
        text,
        higher={f"{name}, images a second": rate for name, rate in rates.items()},
        draw=lambda figure: draw_bars(figure, rates, "images a second"),
    )


if __name__ == "__main__":
    main()
