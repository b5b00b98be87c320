"""The embedded data set: labelled colour fractals, any number of them, each a pure function of seed, split and index.

A class is the code of an iterated function system: two to four contractive affine maps, as in FractalDB (Kataoka et al.
2020, arXiv 2101.08515). The images of a class share its code; jittered maps, rotation, size, place, palette and ground
tell them apart. So shape is the class, and colour says nothing about it.

Maps are drawn by their singular values, as Anderson and Farrell (arXiv 2110.03091) propose; here the maps' areas add up
to 0.6-1.0 of the whole (less is dust, more is a blot). Instead of playing the chaos game, all words of one length are
applied to a point of the attractor: nothing random, no burn-in, each level one affine map of the level before. Colours
follow a point's address, as in fractal flames (Draves and Reckase 2003).

Random numbers have a counter and no state (counter.py), so any index can be made in any batch and order. Floats see
only + - * / and square roots, which IEEE 754 rounds exactly, and points are counted in integers, so on CPUs the bytes
depend neither on the batch nor on the processor.

Shape suffixes: B images, N maps of a code, D draws, P points, S side, A anchors of a palette, C colour channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, count
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from study.config import Fractals
from study.data.arrays import Arrays
from study.data.counter import uniform
from study.data.sources import Blocks, Source

VERSION = 2  # raised whenever the images change, so that arrays prepared before are not taken for the same

Split = Literal["train", "test"]
STREAMS = {"train": 0, "test": 1, "codes": 2}  # of random numbers: no two share one

MAPS = (2, 3, 4)  # numbers of maps of the codes, which candidates take in turn
AREA = (0.6, 1.0)  # sum of the maps' determinants
FLATTEST = 0.35  # smallest ratio of a map's singular values
STEEPEST = 0.9  # largest singular value of a code's map; an instance's may reach 0.95
GRID = 32  # side of the grid on which candidates are compared
FILLING = (0.15, 0.6)  # part of the grid's cells that an attractor fitted to it visits
LIKENESS = 0.5  # largest intersection over union of two classes' cells
POINTS_PER_PIXEL = 4  # at least
POINTS_AT_ONCE = {"cpu": 2**19, "gpu": 2**25}  # few enough for the processor's cache, many enough to amortise calls

LOOK = {  # what an instance draws, and how many numbers each takes
    "jitter": 6 * max(MAPS),
    "rotation": 2,
    "size": 1,
    "place": 2,
    "dark": 1,
    "hues": 2,
    "saturations": 3,
    "values": 3,
    "ground_hues": 2,
    "ground_saturations": 2,
    "ground_values": 2,
    "ground_direction": 2,
}

# ---------------------------------------------------------------- affine maps, exactly rounded


def either(condition: Tensor, yes: float, no: float) -> Tensor:
    """float32, `yes` where the condition holds; of two plain numbers `torch.where` makes torch's default type."""
    return torch.full_like(condition, no, dtype=torch.float32).masked_fill(condition, yes)


def rotation(u: Tensor) -> Tensor:
    """Rotations (..., 2, 2) from two uniform numbers (..., 2): tan(angle / 2) in [-1, 1), and a half turn or none."""
    tangent = 2 * u[..., 0] - 1
    radius = either(u[..., 1] < 0.5, -1.0, 1.0) / (1 + tangent * tangent)
    cosine, sine = (1 - tangent * tangent) * radius, 2 * tangent * radius
    return torch.stack((cosine, -sine, sine, cosine), -1).unflatten(-1, (2, 2))


def product(a: Tensor, b: Tensor) -> Tensor:
    """(..., 2, 2) times (..., 2, k), summed in one order (a BLAS may choose it by the batch)."""
    return a[..., :, :1] * b[..., :1, :] + a[..., :, 1:] * b[..., 1:, :]


def root(x: Tensor) -> Tensor:
    """Square roots, exactly rounded: on a CPU by NumPy, since torch's come from MKL, an ulp off on some processors."""
    return torch.from_numpy(np.asarray(np.sqrt(x.numpy()))) if x.device.type == "cpu" else x.sqrt()


def steepness(linear: Tensor) -> Tensor:
    """The larger singular value of (..., 2, 2)."""
    a, b, c, d = linear.flatten(-2).unbind(-1)
    return (root((a + d) ** 2 + (b - c) ** 2) + root((a - d) ** 2 + (b + c) ** 2)) / 2


# ---------------------------------------------------------------- codes


@lru_cache(maxsize=8)
def codes(seed: int, classes: int) -> tuple[Tensor, ...]:
    """The code of each class: float32 (N, 2, 3), for each of its N maps the linear part and the shift.

    Candidates come in a fixed order and are taken if they look unlike the classes before, so that more classes leave
    the first ones as they are.
    """
    chosen: list[Tensor] = []
    grids = torch.zeros(classes, GRID**2, dtype=torch.bool)
    for code, grid in _candidates(seed):
        others = grids[: len(chosen)]
        if ((others & grid).sum(1) < LIKENESS * (others | grid).sum(1)).all():
            grids[len(chosen)] = grid
            chosen.append(code)
        if len(chosen) == classes:
            break
    return tuple(chosen)


def _candidates(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless codes, each with the cells of the grid that its attractor visits.

    Only those whose maps are contractive and which fill enough of the image, but not too much: the filling rate of
    FractalDB.
    """
    for first in count(0, 64):
        groups = [_draw_codes(seed, maps, torch.arange(first, first + 64)) for maps in MAPS]
        for code, grid, steepest in chain.from_iterable(zip(*groups, strict=True)):
            if steepest < STEEPEST and FILLING[0] < grid.sum() / GRID**2 < FILLING[1]:
                yield code, grid


def _draw_codes(seed: int, maps: int, indices_B: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Codes of `maps` maps, with their cells of the grid and the largest singular value of their maps."""
    u_BND = uniform(seed, STREAMS["codes"], indices_B * len(MAPS) + MAPS.index(maps), 10 * maps).unflatten(
        1, (maps, 10)
    )
    share_BN = 0.3 + u_BND[..., 1]
    total_B1 = sum(share_BN.split(1, dim=1), share_BN.new_zeros(1))
    area_BN = share_BN / total_B1 * (AREA[0] + (AREA[1] - AREA[0]) * u_BND[:, :1, 0])
    ratio_BN = FLATTEST + (1 - FLATTEST) * u_BND[..., 2]
    larger_BN = root(area_BN / ratio_BN)
    smaller_BN = larger_BN * ratio_BN * either(u_BND[..., 3] < 0.5, -1.0, 1.0)
    stretch_BN22 = torch.diag_embed(torch.stack((larger_BN, smaller_BN), -1))
    linear_BN22 = product(product(rotation(u_BND[..., 4:6]), stretch_BN22), rotation(u_BND[..., 6:8]))
    codes_BN23 = torch.cat((linear_BN22, 2 * u_BND[..., 8:10, None] - 1), -1)

    corner_B = codes_BN23.new_zeros(len(codes_BN23))
    pixel_BP = pixels(*attractor(codes_BN23, POINTS_PER_PIXEL * GRID**2), corner_B + GRID, corner_B, corner_B, GRID)
    grid_BS = totals(pixel_BP, torch.ones(1, dtype=torch.int32), GRID) > 0
    return list(zip(codes_BN23, grid_BS, larger_BN.amax(1), strict=True))


# ---------------------------------------------------------------- points and pixels


def word_length(maps: int, points: int) -> int:
    """The smallest length of which `maps` letters make at least `points` words."""
    return next(length for length in count(1) if maps**length >= points)


def attractor(maps_BN23: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """x and y, (B, P) each, of at least `points` points of each attractor: all words of one length.

    The words are applied to the fixed point of the first map, which lies on the attractor, and so they all do.
    """
    a, b, e, c, d, f = maps_BN23.flatten(2)[..., None].unbind(2)
    determinant = (1 - a[:, 0]) * (1 - d[:, 0]) - b[:, 0] * c[:, 0]
    x_BP = ((1 - d[:, 0]) * e[:, 0] + b[:, 0] * f[:, 0]) / determinant
    y_BP = (c[:, 0] * e[:, 0] + (1 - a[:, 0]) * f[:, 0]) / determinant
    for _ in range(word_length(maps_BN23.shape[1], points)):
        x_B1P, y_B1P = x_BP[:, None], y_BP[:, None]
        x_BP, y_BP = (a * x_B1P + b * y_B1P + e).flatten(1), (c * x_B1P + d * y_B1P + f).flatten(1)
    return x_BP, y_BP


@lru_cache(maxsize=32)
def addresses(maps: int, length: int, device: torch.device) -> Tensor:
    """Colour coordinate (P,) of each word, 0-255: halved and moved by each letter, so the last applied weighs most."""
    coordinate_P = torch.full((1,), 0.5, dtype=torch.float32, device=device)
    letter_N1 = torch.arange(maps, dtype=torch.float32, device=device)[:, None] / (maps - 1)
    for _ in range(length):
        coordinate_P = ((coordinate_P + letter_N1) / 2).flatten()
    return (255 * coordinate_P).int()


def pixels(x_BP: Tensor, y_BP: Tensor, size_B: Tensor, left_B: Tensor, top_B: Tensor, side: int) -> Tensor:
    """Row-major pixel (B, P) of each point, once the longer side of the points' box measures `size_B` pixels.

    `left_B` and `top_B` are the parts, 0 to 1, of the room that remains beside and above the box.
    """
    left, top = x_BP.amin(1), y_BP.amin(1)  # amin and amax are many times as fast as aminmax
    width_B, height_B = x_BP.amax(1) - left, y_BP.amax(1) - top
    scale_B = size_B * 0.999 / torch.maximum(width_B, height_B).clamp(min=1e-6)  # 0.999: the edge stays inside
    shift_x = (side * 0.999 - width_B * scale_B) * left_B - left * scale_B
    shift_y = (side * 0.999 - height_B * scale_B) * top_B - top * scale_B
    column_BP = (x_BP * scale_B[:, None] + shift_x[:, None]).int()
    row_BP = (y_BP * scale_B[:, None] + shift_y[:, None]).int()
    return (row_BP * side + column_BP).long()


def totals(pixel_BP: Tensor, values_P: Tensor, side: int) -> Tensor:
    """int32 (B, S*S): the sum of the points' integer values in each pixel."""
    image_BS = torch.zeros(len(pixel_BP), side * side, dtype=torch.int32, device=pixel_BP.device)
    return image_BS.scatter_add_(1, pixel_BP, values_P.expand_as(pixel_BP))


# ---------------------------------------------------------------- images


def colours(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """HSV to RGB: three (B, A) of any hue, saturation and value in [0, 1], to (B, A, C)."""
    sector = hue[..., None] * 6 + hue.new_tensor([5.0, 3.0, 1.0])
    sector = sector - 6 * (sector / 6).floor()
    ramp = torch.minimum(sector, 4 - sector).clamp(0, 1)
    return value[..., None] * (1 - saturation[..., None] * ramp)


def instances(codes_BN23: Tensor, draw: dict[str, Tensor], jitter: float) -> Tensor:
    """Maps (B, N, 2, 3) of B instances: strayed from their codes, kept contractive, and turned."""
    maps = codes_BN23.shape[1]
    stray_BN23 = jitter * (2 * draw["jitter"][:, : 6 * maps].unflatten(1, (maps, 2, 3)) - 1)
    linear_BN22 = codes_BN23[..., :2] + stray_BN23[..., :2]
    linear_BN22 = linear_BN22 * (0.95 / steepness(linear_BN22)).clamp(max=1.0)[..., None, None]
    shift_BN21 = codes_BN23[..., 2:] + 2 * stray_BN23[..., 2:]  # shifts are about twice as large as linear parts
    turn_B122 = rotation(draw["rotation"])[:, None]
    return torch.cat((product(product(turn_B122, linear_BN22), turn_B122.mT), product(turn_B122, shift_BN21)), -1)


def figure(draw: dict[str, Tensor], dark_B1: Tensor, address_BS: Tensor) -> Tensor:
    """Colours of the attractor (B, C, S*S): three of similar hue along the address, bright on a dark ground."""
    spread_A = address_BS.new_tensor([0.0, 0.2, 0.4])
    hue_BA = draw["hues"][:, :1] + spread_A * (2 * draw["hues"][:, 1:] - 1)
    saturation_BA = either(dark_B1, 0.4, 0.6) + either(dark_B1, 0.6, 0.4) * draw["saturations"]
    value_BA = either(dark_B1, 0.65, 0.15) + either(dark_B1, 0.35, 0.55) * draw["values"]
    first_BC1, middle_BC1, last_BC1 = colours(hue_BA, saturation_BA, value_BA)[..., None].unbind(1)
    first_B1S, last_B1S = (1 - 2 * address_BS[:, None]).clamp(min=0), (2 * address_BS[:, None] - 1).clamp(min=0)
    return first_BC1 * first_B1S + middle_BC1 * (1 - first_B1S - last_B1S) + last_BC1 * last_B1S


def ground(draw: dict[str, Tensor], dark_B1: Tensor, side: int) -> Tensor:
    """Background (B, C, S*S): a gradient between two colours, dark or bright, in any direction."""
    hue_B1, spread_B1 = draw["ground_hues"].split(1, dim=1)
    hue_BA = torch.cat((hue_B1, hue_B1 + 0.6 * (spread_B1 - 0.5)), 1)
    saturation_BA = draw["ground_saturations"] * either(dark_B1, 0.9, 0.5)
    value_BA = torch.where(dark_B1, 0.35 * draw["ground_values"], 0.75 + 0.25 * draw["ground_values"])
    first_BC1, second_BC1 = colours(hue_BA, saturation_BA, value_BA)[..., None].unbind(1)
    axis_S = (torch.arange(side, dtype=torch.float32, device=dark_B1.device) + 0.5) / side - 0.5
    direction_B22 = 0.7 * rotation(draw["ground_direction"])[..., None]
    along_B1S = direction_B22[:, 0, 0, :, None] * axis_S[:, None] + direction_B22[:, 1, 0, :, None] * axis_S + 0.5
    along_B1S = along_B1S.flatten(1)[:, None]
    return first_BC1 * (1 - along_B1S) + second_BC1 * along_B1S


def render(codes_BN23: Tensor, u_BD: Tensor, side: int, jitter: float) -> Tensor:
    """Images uint8 (B, C, S, S) of B codes with the same number of maps, each with its own draws, on their device."""
    draw = dict(zip(LOOK, u_BD.split(list(LOOK.values()), dim=1), strict=True))
    maps, points, device = codes_BN23.shape[1], POINTS_PER_PIXEL * side**2, codes_BN23.device
    x_BP, y_BP = attractor(instances(codes_BN23, draw, jitter), points)
    size_B = side * (0.6 + 0.4 * draw["size"][:, 0])
    pixel_BP = pixels(x_BP, y_BP, size_B, draw["place"][:, 0], draw["place"][:, 1], side)

    count_BS = totals(pixel_BP, torch.ones(1, dtype=torch.int32, device=device), side).float()
    address_BS = totals(pixel_BP, addresses(maps, word_length(maps, points), device), side) / (255 * count_BS.clamp(1))
    cover_B1S = (count_BS / (count_BS + 0.5 * x_BP.shape[1] / side**2))[:, None]
    dark_B1 = draw["dark"] < 0.5
    image_BCS = ground(draw, dark_B1, side) * (1 - cover_B1S) + figure(draw, dark_B1, address_BS) * cover_B1S
    return (255 * image_BCS + 0.5).byte().unflatten(2, (side, side))


def batch(
    indices: Tensor, fractals: Fractals, split: Split, image_size: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Images uint8 (B, 3, S, S) and labels int64 (B,) of the given indices of a split, on the device.

    Any index from 0 below 2^48 has an image, also beyond the number that the data set holds; its class is the index
    modulo the number of classes. On one device type the bytes of an index do not depend on the other indices.
    """
    indices = indices.to("cpu", torch.int64)
    labels = indices % fractals.classes
    of_class = codes(fractals.seed, fractals.classes)
    maps = torch.tensor([len(code) for code in of_class])[labels]
    images = torch.empty(len(indices), 3, image_size, image_size, dtype=torch.uint8, device=device)
    at_once = POINTS_AT_ONCE["cpu" if images.device.type == "cpu" else "gpu"]
    chunk = max(1, at_once // (POINTS_PER_PIXEL * image_size**2))
    for number in maps.unique():
        for rows in (maps == number).nonzero()[:, 0].split(chunk):
            code = torch.stack([of_class[label] for label in labels[rows].tolist()]).to(device)
            draws = uniform(fractals.seed, STREAMS[split], indices[rows].to(device), sum(LOOK.values()))
            images[rows.to(device)] = render(code, draws, image_size, fractals.jitter)
    return images, labels.to(device)


def blocks(fractals: Fractals, image_size: int) -> Source:
    """The whole data set of a configuration, made on the CPU block by block as it is asked for."""

    def split(name: Split, size: int) -> Blocks:
        chunks = torch.arange(size).split(2048)
        bar = tqdm(chunks, f"drawing {name} fractals", disable=None, leave=False)
        made = (batch(indices, fractals, name, image_size) for indices in bar)
        return Blocks(size, ((images.numpy(), labels.numpy()) for images, labels in made))

    names = tuple(f"fractal {number}" for number in range(fractals.classes))
    return Source(split("train", fractals.train_images), split("test", fractals.test_images), names)


def arrays(fractals: Fractals, image_size: int) -> Arrays:
    """The whole data set of a configuration in memory."""
    splits: dict[Split, int] = {"train": fractals.train_images, "test": fractals.test_images}
    made = [batch(torch.arange(size), fractals, name, image_size)[0].numpy() for name, size in splits.items()]
    labels = [np.arange(size, dtype=np.int64) % fractals.classes for size in splits.values()]
    names = tuple(f"fractal {number}" for number in range(fractals.classes))
    return Arrays(made[0], labels[0], made[1], labels[1], names)
