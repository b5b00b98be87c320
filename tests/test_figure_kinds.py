"""Figures beyond curves: what they draw is what the networks are."""

from __future__ import annotations

import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from study.config import STUDY_VARIANTS, Blocks, TimmVariant, Variant
from study.errors import StudyError
from study.models.catalog import resolve
from study.models.sizing import Budget, strides_of
from study.report.stages import UNKNOWN, stage_strip

BUDGET = Budget(300_000, "parameters", strides_of("fine", 32), 100, 32, Blocks(), "shared")


@pytest.fixture(scope="module")
def five() -> dict[str, Variant]:
    return {label: resolve(label, BUDGET) for label in STUDY_VARIANTS}


def test_a_strip_draws_blocks_widths_and_sides_to_one_scale(five: dict[str, Variant]) -> None:
    figure = stage_strip(five, 32)
    (axes,) = figure.axes
    blocks = [each for each in axes.patches if isinstance(each, Rectangle)]
    rows: dict[float, list[Rectangle]] = {}
    for block in blocks:
        rows.setdefault(round(block.get_y() + block.get_height() / 2, 3), []).append(block)
    *drawn, _ = [rows[middle] for middle in sorted(rows, reverse=True)]  # the lowest are the key
    channel = pixel = None
    for row, variant in zip(drawn, five.values(), strict=True):
        if variant.family == "coatnet":
            sides = (32, 32, 16, 8, 4)
            wanted = [
                (width, side)
                for width, side, depth in zip(variant.widths, sides, variant.depths, strict=True)
                for _ in range(depth)
            ]
            letters = ["stem"] * variant.depths[0] + [
                {"C": "MBConv", "T": "Transformer"}[letter]
                for letter, depth in zip(variant.layout.split("-"), variant.depths[1:], strict=True)
                for _ in range(depth)
            ]
        else:
            assert variant.family == "vit_rel"
            wanted = [(variant.width, 8)] * (1 + variant.depth)
            letters = ["stem"] + ["Transformer"] * variant.depth
        assert [block.get_label() for block in row] == letters
        channel, pixel = channel or row[0].get_width() / wanted[0][0], pixel or row[0].get_height() / wanted[0][1]
        found = [(block.get_width() / channel, block.get_height() / pixel) for block in row]
        assert found == [pytest.approx(each) for each in wanted]
    hatched = {block.get_label(): bool(block.get_hatch()) for block in blocks}
    assert hatched == {"stem": False, "MBConv": False, "Transformer": True}  # told apart without colour


@pytest.mark.parametrize("width", [3.3, 6.8])
def test_in_a_strip_nothing_overlaps_or_leaves_the_figure(five: dict[str, Variant], width: float) -> None:
    published = {name: resolve(name, BUDGET) for name in ("coatnet_0", "coatnet_6", "coat_tiny")}
    for variants, side in ((five, 32), ({"C-C-T-T": five["C-C-T-T"]}, 32), (published, 256)):
        figure = stage_strip(variants, side, width)
        figure.draw_without_rendering()
        (axes,) = figure.axes
        texts = [each for each in axes.findobj(Text) if each.get_text() and each.get_visible()]
        boxes = [each.get_window_extent() for each in texts]
        for place, box in enumerate(boxes):
            assert box.x0 >= 0, texts[place]
            assert box.x1 <= figure.bbox.x1, texts[place]
            assert not any(box.overlaps(other) for other in boxes[:place]), texts[place]


def test_networks_whose_stages_are_not_known_say_so(five: dict[str, Variant]) -> None:
    figure = stage_strip({"timm:resnet18": TimmVariant(model="resnet18"), "C-C-T-T": five["C-C-T-T"]})
    assert UNKNOWN in [text.get_text() for text in figure.axes[0].texts]
    assert [text.get_text() for text in stage_strip({"x": TimmVariant(model="resnet18")}).axes[0].texts] == [UNKNOWN]
    with pytest.raises(StudyError, match="do not divide"):
        stage_strip({"C-C-T-T": five["C-C-T-T"]}, 33)
