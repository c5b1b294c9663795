"""Groups of identical and nearly identical pictures, with their names.

Two pictures are nearly identical if their pixels, or those of the mirror image, have a correlation
of `MIN_CORRELATION` or more. Copies under two labels mean that a label is wrong; copies in two
splits make figures too good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from emotion_train.audit.pictures import AuditedPictures

MIN_CORRELATION = 0.95
IDENTICAL, NEARLY_IDENTICAL = "identical", "nearly identical"
_COARSE_SIDE = 24  # pixels of the reduced pictures that are compared first
# A lower limit for the reduced pictures: reducing removes noise, which lowers correlations.
_COARSE_SLACK = 0.02
_TILE = 2_048  # pictures compared with as many others at once
_MIN_DEVIATION = 1e-3  # of the gray values; a picture of one gray value correlates with nothing


@dataclass(frozen=True)
class CopyGroup:
    """Two or more copies of one picture.

    Attributes:
        kind: `IDENTICAL` if the pixels of all copies are equal, else `NEARLY_IDENTICAL`.
        members: Indices of the pictures, in ascending order.
        labels: The different labels of the copies.
        splits: The different splits of the copies.
    """

    kind: str
    members: tuple[int, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]

    @property
    def is_contradictory(self) -> bool:
        """Return whether the copies have several labels."""
        return len(self.labels) > 1

    @property
    def is_leaking(self) -> bool:
        """Return whether the copies are in several splits."""
        return len(self.splits) > 1


def find_copy_groups(pictures: AuditedPictures, *, progress: bool = False) -> list[CopyGroup]:
    """Return the groups of copies: under several labels, in several splits, and others.

    Of each of these three, identical pictures come first.
    A picture is in one group of each kind at most: copies of copies belong together. A group of
    nearly identical pictures has all copies of its pictures, identical ones too.

    Args:
        pictures: The pictures.
        progress: Show a bar on a terminal.
    """
    hashes = pictures.faces.hash_pixels()
    first: dict[bytes, int] = {}
    identical, groups = _Groups(len(pictures)), _Groups(len(pictures))
    for index, one in enumerate(hashes):
        for some in (identical, groups):
            some.join(first.setdefault(one, index), index)
    different = np.array(sorted(first.values()), np.int64)
    for i, j in _find_near_pairs(pictures.faces.pixels[different], progress=progress):
        groups.join(int(different[i]), int(different[j]))
    found = [
        _make_group(pictures, IDENTICAL, members)
        for members in identical.list_members()
        if len(members) > 1
    ]
    found += [
        _make_group(pictures, NEARLY_IDENTICAL, members)
        for members in groups.list_members()
        if len({hashes[one] for one in members}) > 1
    ]
    return sorted(found, key=_rank_group)


def _rank_group(group: CopyGroup) -> tuple[bool, bool, bool, tuple[int, ...]]:
    """Return the key to sort groups by."""
    is_harmless = not (group.is_contradictory or group.is_leaking)
    return not group.is_contradictory, is_harmless, group.kind != IDENTICAL, group.members


def _make_group(pictures: AuditedPictures, kind: str, members: Sequence[int]) -> CopyGroup:
    labels = Counter(pictures.classes[pictures.faces.labels[one]] for one in members)
    splits = Counter(pictures.splits[one] for one in members)
    return CopyGroup(kind, tuple(members), tuple(labels), tuple(splits))


def number_groups(groups: Sequence[CopyGroup], count: int) -> NDArray[np.int64]:
    """Return a number for each picture, int64 (count,): equal for copies, else different."""
    numbers = np.arange(count, dtype=np.int64)
    # A group of nearly identical pictures includes the groups of identical ones.
    for group in sorted(groups, key=lambda one: one.kind != IDENTICAL):
        numbers[list(group.members)] = group.members[0]
    return numbers


class _Groups:
    """Disjoint sets of indices (union by the smaller index, with path halving)."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def find(self, one: int) -> int:
        """Return the smallest index of the group of an index."""
        parents = self._parents
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    def join(self, one: int, other: int) -> None:
        """Make one group of the groups of two indices."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parents[second] = first

    def list_members(self) -> list[list[int]]:
        """Return the indices of each group, in ascending order."""
        members: dict[int, list[int]] = {}
        for index in range(len(self._parents)):
            members.setdefault(self.find(index), []).append(index)
        return list(members.values())


@torch.inference_mode()
def _find_near_pairs(pixels: NDArray[np.uint8], *, progress: bool) -> list[tuple[int, int]]:
    """Return pairs of indices of nearly identical pictures, the smaller index first.

    Args:
        pixels: uint8 (n, size, size), all different.
        progress: Show a bar on a terminal.
    """
    coarse = _normalise_coarse(pixels, mirror=False)
    mirrored = _normalise_coarse(pixels, mirror=True)
    limit = MIN_CORRELATION - _COARSE_SLACK
    starts = range(0, len(pixels), _TILE)
    tiles = [(row, column) for row in starts for column in starts if column >= row]
    bar = tqdm(
        tiles,
        desc="comparing pictures",
        unit=" parts",
        leave=False,
        disable=None if progress else True,
    )
    pairs = []
    for row, column in bar:
        rows = coarse[row : row + _TILE]
        for others, is_mirrored in ((coarse, False), (mirrored, True)):
            likely = torch.nonzero(rows @ others[column : column + _TILE].T > limit)
            for i, j in (likely + torch.tensor([row, column])).tolist():
                if i >= j:
                    continue
                if _correlate(pixels[i], pixels[j], mirror=is_mirrored) >= MIN_CORRELATION:
                    pairs.append((i, j))
    return pairs


def _normalise_coarse(pixels: NDArray[np.uint8], *, mirror: bool) -> Tensor:
    """Return reduced pictures with a mean of 0 and a norm of 1, float32 (n, side²)."""
    parts = []
    for start in range(0, len(pixels), _TILE):
        part = torch.from_numpy(pixels[start : start + _TILE]).float().unsqueeze(1)
        part = torch.nn.functional.adaptive_avg_pool2d(part, _COARSE_SIDE)
        flat = (part.flip(3) if mirror else part).flatten(1)
        flat = flat - flat.mean(dim=1, keepdim=True)
        norm = flat.norm(dim=1, keepdim=True)
        # A picture of one gray value becomes 0, which correlates with nothing.
        parts.append(torch.where(norm > _MIN_DEVIATION * _COARSE_SIDE, flat / norm, 0.0))
    return torch.cat(parts)


def _correlate(one: NDArray[np.uint8], other: NDArray[np.uint8], *, mirror: bool) -> float:
    """Return the correlation of two pictures, or of one with the other's mirror image."""
    first = one.astype(np.float64) - one.mean()
    second = (other[:, ::-1] if mirror else other).astype(np.float64) - other.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else 0.0
