"""Regions of label images: connected components, and panoptic maps made from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ttt_cli.core.labels import PanopticMap, Segment

Region = tuple[int, bool]
"""Class id, and whether it is a crowd."""


def components(classes: Tensor, things: frozenset[int], smallest: int) -> Tensor:
    """The connected components of the classes `things` in a class map, int (H, W): int32 (H, W), 0 = no object.

    smallest: fewest pixels that a component may have.
    """
    from scipy import ndimage  # Takes a while, and every run imports this module.

    instances = np.zeros(tuple(classes.shape), dtype=np.int32)
    for index in sorted(things):
        labeled, count = ndimage.label((classes == index).numpy())
        sizes = np.bincount(labeled.ravel(), minlength=count + 1)
        for component in np.flatnonzero(sizes >= smallest):
            if component > 0:
                instances[labeled == component] = instances.max() + 1
    return torch.from_numpy(instances)


def distinct(codes: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The distinct values of an integer array, ascending, and the position of every element's value in that list."""
    values, positions = np.unique(codes, return_inverse=True)
    return values.tolist(), positions.reshape(codes.shape)


def panoptic_map(positions: np.ndarray, regions: Sequence[Region | None]) -> PanopticMap:
    """positions: int (H, W), the index of each pixel's region; None is void. Segments get new ids from 1."""
    ids = np.zeros(len(regions), np.int32)
    segments: list[Segment] = []
    for index, region in enumerate(regions):
        if region is not None:
            ids[index] = len(segments) + 1
            segments.append(Segment(len(segments) + 1, region[0], is_crowd=region[1]))
    return PanopticMap(torch.from_numpy(ids[positions]), tuple(segments))


def map_of_objects(
    classes: np.ndarray, instances: np.ndarray, region_of: Callable[[int, int], Region | None]
) -> PanopticMap:
    """A panoptic map in which each pair of class id and instance is a region.

    classes, instances: int (H, W) from 0, instances below 2^32. region_of: the region of a pair.
    """
    values, positions = distinct(classes.astype(np.int64) << 32 | instances)
    return panoptic_map(positions, [region_of(value >> 32, value & 0xFFFFFFFF) for value in values])
