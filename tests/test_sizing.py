"""Size matching: budgets met on networks that were built, closed forms against counts, sensible shapes, refusals."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise, product
from typing import Any

import pytest
from torch import nn

from study.config import (
    LAYOUTS,
    STUDY_VARIANTS,
    Blocks,
    CoAtNetVariant,
    CoaTVariant,
    Data,
    Experiment,
    Variant,
    ViTRelVariant,
)
from study.errors import StudyError
from study.models import shared_depths as shared_depths_module
from study.models import sizing
from study.models.attention import Attention, inner_width
from study.models.catalog import resolve
from study.models.closed_forms import Cost, coat_cost, coatnet_cost, vit_cost
from study.models.coatnet import stage_sides
from study.models.cost import count_parameters, macs_by_module, skeleton
from study.models.published import COAT, PUBLISHED
from study.models.shared_depths import shared_depths
from study.models.sizing import GEOMETRIES, Budget, matched, strides_of
from study.sweep.plan import resolve_variants

SIDE = 32


def budget(
    amount: int, geometry: str = "cheap", classes: int = 100, match: Any = "parameters", **switches: Any
) -> Budget:
    return Budget(amount, match, strides_of(geometry, SIDE), classes, SIDE, Blocks(**switches))


@lru_cache
def match_layout(layout: str, which: Budget) -> CoAtNetVariant | ViTRelVariant:
    return matched(layout, which)


@lru_cache
def built(variant: Variant, classes: int, side: int = SIDE) -> nn.Module:
    return skeleton(variant, classes, side)


def parameters(variant: Variant, classes: int, side: int = SIDE) -> int:
    return count_parameters(built(variant, classes, side))


def macs(variant: Variant, classes: int, side: int = SIDE) -> int:
    return macs_by_module(built(variant, classes, side), side)["Global"]


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize("layout", STUDY_VARIANTS)
@pytest.mark.parametrize("amount", [500_000, 1_500_000, 5_000_000])
@pytest.mark.parametrize(
    ("geometry", "classes"),
    [
        ("fine", 100),
        ("cheap", 20),
        pytest.param("fine", 20, marks=pytest.mark.slow),
        pytest.param("cheap", 100, marks=pytest.mark.slow),
    ],
)
def test_each_layout_is_built_within_one_percent_of_the_budget(
    layout: str, amount: int, geometry: str, classes: int
) -> None:
    variant = match_layout(layout, budget(amount, geometry, classes))
    assert parameters(variant, classes) == pytest.approx(amount, rel=0.01)


@pytest.mark.parametrize("layout", STUDY_VARIANTS)
@pytest.mark.parametrize(("amount", "geometry"), [(10_000_000, "cheap"), (60_000_000, "cheap"), (60_000_000, "fine")])
def test_each_layout_is_built_within_one_percent_of_a_budget_of_multiply_adds(
    layout: str, amount: int, geometry: str
) -> None:
    variant = match_layout(layout, budget(amount, geometry, match="macs"))
    assert macs(variant, 100) == pytest.approx(amount, rel=0.01)


@pytest.mark.parametrize(("match", "other"), [("parameters", "macs"), ("macs", "parameters")])
def test_multi_stage_layouts_come_close_in_the_cost_that_is_not_matched(match: str, other: str) -> None:
    """ViT_REL cannot: all its blocks see S3's positions, and it has no cheap wide stage."""
    amounts = {"parameters": 1_500_000, "macs": 40_000_000}
    costs = {
        layout: {"parameters": parameters, "macs": macs}[other](
            match_layout(layout, budget(amounts[match], match=match)), 100
        )
        for layout in STUDY_VARIANTS[1:]
    }
    for cost in costs.values():
        assert cost == pytest.approx(costs["C-C-T-T"], rel=0.05)


@pytest.mark.parametrize("switches", [{"relative_bias": "none"}, {"head_dim": 64}, {"stride_in": "depthwise"}], ids=str)
def test_switches_are_set_before_matching(switches: dict[str, Any]) -> None:
    text = f"C-C-T-T[{','.join(f'{key}={value}' for key, value in switches.items())}]"
    variant = resolve(text, budget(500_000))
    assert isinstance(variant, CoAtNetVariant)
    assert variant.blocks == Blocks(**switches)
    assert parameters(variant, 100) == pytest.approx(500_000, rel=0.01)


@pytest.mark.parametrize("amount", [300_000, 500_000, 1_500_000])
@pytest.mark.parametrize("depths", [(2, 1, 3, 7, 1), (2, 1, 1, 9, 1), (2, 1, 4, 6, 1)], ids=["V0", "V1", "V2"])
def test_depths_can_be_given_and_widths_still_meet_the_budget(amount: int, depths: tuple[int, ...]) -> None:
    """Table 7 at small size: blocks shifted between S2 and S3."""
    variant = resolve(f"C-C-T-T[depths={'-'.join(map(str, depths))}]", budget(amount, classes=20))
    assert isinstance(variant, CoAtNetVariant)
    assert variant.depths == depths
    assert parameters(variant, 20) == pytest.approx(amount, rel=0.01)


def test_depths_may_be_written_with_zeros_before_them() -> None:
    written = resolve("C-C-T-T[depths=02-01-03-07-01]", budget(500_000))
    assert written == resolve("C-C-T-T[depths=2-1-3-7-1]", budget(500_000))


@pytest.mark.parametrize("depths", ["2-2-2", "2-2-2-2-2-2", "2", "two", "2-x-2-2-2", "2--2-2-2"])
def test_depths_that_are_not_five_numbers_are_refused(depths: str) -> None:
    with pytest.raises(StudyError, match="depths are five numbers of blocks, for S0 to S4, such as depths=2-2-3-5-2"):
        resolve(f"C-C-T-T[depths={depths}]", budget(500_000))


@pytest.mark.parametrize("layout", STUDY_VARIANTS)
def test_an_impossible_budget_is_one_sentence_that_names_the_nearest(layout: str) -> None:
    with pytest.raises(StudyError) as refusal:
        matched(layout, budget(1_000))
    sentence = str(refusal.value)
    assert sentence.startswith(f"no {layout} with sensible proportions comes within 1% of a budget of 1,000 parameters")
    nearest = int(sentence.rpartition("the nearest has ")[2].replace(",", ""))
    assert 1_000 < nearest < 40_000
    assert "\n" not in sentence
    near = budget(nearest)
    assert parameters(matched(layout, near), 100) == nearest  # it can be had


def test_a_side_that_does_not_divide_is_refused_before_the_search() -> None:
    with pytest.raises(StudyError, match=r"images of side 36 .*: 32 and 48 would"):
        matched("C-C-T-T", Budget(500_000, "parameters", strides_of("cheap", 36), 10, 36, Blocks()))


# ---------------------------------------------------------------- shapes


MATCHED = [
    (layout, budget(amount, geometry))
    for layout, amount, geometry in product(STUDY_VARIANTS, [500_000, 5_000_000], ["fine", "cheap"])
]


@pytest.mark.parametrize(("layout", "which"), MATCHED, ids=str)
def test_shapes_are_sensible(layout: str, which: Budget) -> None:
    variant = match_layout(layout, which)
    widths = variant.widths if isinstance(variant, CoAtNetVariant) else (variant.width,)
    depths = variant.depths if isinstance(variant, CoAtNetVariant) else (variant.depth,)
    assert all(width % 8 == 0 for width in widths)
    assert all(narrow <= wide for narrow, wide in pairwise(widths))
    assert min(depths) >= 1
    for module in built(variant, which.classes).modules():
        if isinstance(module, Attention):
            assert module.out.in_features % 32 == 0
            assert abs(module.out.in_features - module.out.out_features) <= 16 or module.out.out_features < 16
    if isinstance(variant, CoAtNetVariant):
        assert all(1.5 <= wide / narrow <= 2.5 for narrow, wide in pairwise(widths[1:]))
    else:
        assert 12 / 768 <= variant.depth / variant.width <= 24 / 192
        assert variant.hidden is None or abs(variant.hidden / (4 * variant.width) - 1) <= 1 / 16


@pytest.mark.parametrize("width", range(8, 520, 8))
def test_the_inner_width_is_the_nearest_multiple_of_32(width: int) -> None:
    assert inner_width(width, 32) == min(range(32, 1024, 32), key=lambda inner: (abs(inner - width), -inner))


def test_c_c_t_t_of_25m_at_224_pixels_is_close_to_coatnet_0() -> None:
    found = matched("C-C-T-T", Budget(25_000_000, "parameters", GEOMETRIES["paper"], 1000, 224, Blocks()))
    published = PUBLISHED["coatnet_0"].variant
    assert isinstance(found, CoAtNetVariant)
    assert isinstance(published, CoAtNetVariant)
    for width, expected in zip(found.widths, published.widths, strict=True):
        assert width == pytest.approx(expected, rel=0.15)
    for depth, expected in zip(found.depths, published.depths, strict=True):
        assert abs(depth - expected) <= 1
    assert macs(found, 1000, 224) == pytest.approx(4.2e9, rel=0.15)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("side", [32, 64, 224])
def test_vit_rel_sees_the_positions_of_s3(geometry: str, side: int) -> None:
    which = Budget(1_500_000, "parameters", strides_of(geometry, side), 10, side, Blocks())
    vit, stages = matched("ViT_REL", which), matched("C-C-T-T", which)
    assert stage_sides(vit, side)[0] == stage_sides(stages, side)[3]


def test_the_default_geometry_leaves_attention_positions_at_every_side() -> None:
    assert [strides_of("auto", side) for side in (32, 64, 96, 128, 224)] == [
        GEOMETRIES[name] for name in ("fine", "cheap", "cheap", "paper", "paper")
    ]


def test_matching_is_deterministic() -> None:
    which = budget(1_500_000, "fine")
    first = {layout: matched(layout, which) for layout in STUDY_VARIANTS}
    sizing._reference.cache_clear()
    assert {layout: matched(layout, which) for layout in reversed(STUDY_VARIANTS)} == first


# ---------------------------------------------------------------- closed forms


SWITCHES: list[dict[str, Any]] = [
    {},
    {"relative_bias": "post"},
    {"relative_bias": "none"},
    {"absolute_positions": True},
    {"attention": "local", "window": 3},
    {"attention": "linear", "relative_bias": "none"},
    {"head_dim": 64},
    {"conv_norm": "layer"},
    {"stride_in": "depthwise"},
    {"se_ratio": 0.0},
    {"se_ratio": 0.5},
    {"dense_head": True},
    {"expansion": 2},
]


def assert_counted(variant: Variant, closed: Cost, classes: int, side: int) -> None:
    network = skeleton(variant, classes, side)
    assert int(closed.parameters) == count_parameters(network)
    assert int(closed.macs) == macs_by_module(network, side)["Global"]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("layout", ["C-C-T-T", "C-T-C-T"])
def test_the_closed_forms_of_coatnet_are_exact(layout: str, switches: dict[str, Any]) -> None:
    variant = CoAtNetVariant(
        layout=layout,
        depths=(3, 1, 2, 2, 1),
        widths=(24, 24, 40, 72, 112),
        strides=(1, 2, 1, 2, 2),
        blocks=Blocks(**switches, attention_first=True),
    )
    closed = coatnet_cost(layout, variant.depths, variant.widths, variant.strides, variant.blocks, 7, 48)
    assert_counted(variant, closed, 7, 48)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_the_closed_forms_of_vit_rel_are_exact(switches: dict[str, Any]) -> None:
    variant = ViTRelVariant(patch=4, depth=2, width=72, hidden=200, blocks=Blocks(**switches))
    closed = vit_cost(variant.depth, variant.width, variant.hidden, variant.patch, variant.blocks, 7, 24)
    assert_counted(variant, closed, 7, 24)


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
@pytest.mark.parametrize("parallel_depth", [0, 2])
def test_the_closed_forms_of_coat_are_exact(heads: int, parallel_depth: int) -> None:
    variant = CoaTVariant(
        widths=(16, 24, 24, 24) if parallel_depth else (16, 24, 32, 48),
        depths=(1, 2, 3, 2),
        parallel_depth=parallel_depth,
        mlp_ratios=(8, 4, 4, 4),
        heads=heads,
        patch=2,
    )
    closed = coat_cost(variant.widths, variant.depths, variant.parallel_depth, variant, 7, 48)
    assert_counted(variant, closed, 7, 48)


# ---------------------------------------------------------------- CoaT


@pytest.mark.parametrize("family", ["coat", "coat_lite"])
@pytest.mark.parametrize(
    ("amount", "match", "side", "classes"),
    [
        (300_000, "parameters", 32, 20),
        (500_000, "parameters", 32, 100),
        (1_500_000, "parameters", 32, 100),
        (5_000_000, "parameters", 64, 10),
        (20_000_000, "parameters", 224, 1000),
        (20_000_000, "macs", 32, 100),
        (2_000_000_000, "macs", 224, 1000),
    ],
    ids=str,
)
def test_coat_is_built_within_one_percent_of_a_budget_at_any_side(
    family: str, amount: int, match: Any, side: int, classes: int
) -> None:
    variant = resolve(f"{family}:{amount}", Budget(1, match, strides_of("auto", side), classes, side, Blocks()))
    assert isinstance(variant, CoaTVariant)
    count = {"parameters": parameters, "macs": macs}[match](variant, classes, side)
    assert count == pytest.approx(amount, rel=0.01)
    assert min(variant.depths) >= 2
    assert all(width % 8 == 0 for width in variant.widths)
    assert all(narrow <= wide for narrow, wide in pairwise(variant.widths))
    assert (variant.parallel_depth > 0) == (family == "coat")


@pytest.mark.parametrize("name", [name for name in COAT if name != "coat_lite_medium"])
def test_the_published_coats_are_what_their_own_budgets_give(name: str) -> None:
    amount = COAT[name].exact_parameters
    which = Budget(1, "parameters", GEOMETRIES["paper"], 1000, 224, Blocks())
    assert resolve(f"{name.rpartition('_')[0]}:{amount}", which) == COAT[name].variant


def test_coat_alone_is_matched_to_the_budget_of_all() -> None:
    assert resolve("coat_lite", budget(1_500_000)) == resolve("coat_lite:1.5M", budget(500_000))
    assert resolve("CoaT-Lite", budget(1_500_000)) == resolve("coat_lite", budget(1_500_000))


def test_switches_of_a_matched_coat_hold() -> None:
    variant = resolve("coat_lite:500K[patch=2,heads=4,depths=2-2-3-2,drop_path=0.1]", budget(1))
    assert isinstance(variant, CoaTVariant)
    assert (variant.patch, variant.heads, variant.depths, variant.drop_path) == (2, 4, (2, 2, 3, 2), 0.1)
    assert parameters(variant, 100) == pytest.approx(500_000, rel=0.01)
    with pytest.raises(StudyError, match="widths are found by size matching"):
        resolve("coat_lite[widths=8-16-24-32]", budget(500_000))
    with pytest.raises(StudyError, match=r"no coat_lite .* has 512 heads: its widths are multiples of 512"):
        resolve("coat_lite[heads=512]", budget(500_000))


@pytest.mark.parametrize(
    ("text", "side", "sentence"),
    [
        ("coat_lite:1K", 32, "no coat_lite .* a budget of 1,000 parameters: the nearest has"),
        ("coat:1K", 32, "no coat with sensible proportions"),
        ("coat_lite:500K", 40, "do not divide an image of 40 x 40: a side of 32 or 64"),
        ("coat_lite:much", 32, "'much' is not an amount"),
        ("coatnet_0:1M", 32, "only coat, coat_lite and timm are followed by a colon"),
        ("cctt:1M", 32, "--budget sizes the layouts"),
    ],
)
def test_amounts_that_cannot_be_had_are_refused(text: str, side: int, sentence: str) -> None:
    with pytest.raises(StudyError, match=sentence):
        resolve(text, Budget(500_000, "parameters", strides_of("auto", side), 10, side, Blocks()))


# ---------------------------------------------------------------- shared depths


def shared(amount: int, geometry: str = "fine", match: Any = "parameters") -> dict[str, CoAtNetVariant]:
    """The published layouts at a budget, by the way that an experiment takes."""
    which = Budget(amount, match, strides_of(geometry, SIDE), 100, SIDE, Blocks(), "shared")
    networks = {layout: resolve(layout, which) for layout in LAYOUTS}
    return {layout: network for layout, network in networks.items() if isinstance(network, CoAtNetVariant)}


@pytest.mark.parametrize(("amount", "spread"), [(300_000, 0.05), (500_000, 0.05), (1_500_000, 0.05), (5_000_000, 0.05)])
def test_layouts_share_their_depths_and_differ_little_in_multiply_adds(amount: int, spread: float) -> None:
    networks = shared(amount)
    assert len({network.depths for network in networks.values()}) == 1
    assert next(iter(networks.values())).depths[0] == 2
    for network in networks.values():
        assert parameters(network, 100) == pytest.approx(amount, rel=0.01)
        assert all(1.5 <= wide / narrow <= 2.5 for narrow, wide in pairwise(network.widths[1:]))
    counted = [macs(network, 100) for network in networks.values()]
    assert max(counted) / min(counted) - 1 <= spread
    which = Budget(amount, "parameters", strides_of("fine", SIDE), 100, SIDE, Blocks(), "shared")
    assert shared_depths(which).spread == pytest.approx(max(counted) / min(counted) - 1)


@pytest.mark.parametrize("amount", [500_000, 1_500_000, 5_000_000])
def test_widths_are_multiples_of_8_where_these_come_close(amount: int) -> None:
    assert all(width % 8 == 0 for network in shared(amount).values() for width in network.widths)


def test_widths_are_multiples_of_4_where_8_leaves_multiply_adds_apart() -> None:
    widths = {width for network in shared(300_000).values() for width in network.widths}
    assert all(width % 4 == 0 for width in widths)
    assert any(width % 8 for width in widths)
    which = Budget(300_000, "parameters", strides_of("fine", SIDE), 100, SIDE, Blocks(), "shared")
    coarse = shared_depths_module._search(which, 8, (1.5, 2.5))
    assert coarse is not None
    assert coarse.spread > 0.15 > 0.05 > shared_depths(which).spread


@pytest.mark.parametrize("amount", [60_000_000, 200_000_000])
def test_parameters_come_close_where_multiply_adds_are_matched(amount: int) -> None:
    networks = shared(amount, match="macs")
    assert len({network.depths for network in networks.values()}) == 1
    assert all(macs(network, 100) == pytest.approx(amount, rel=0.01) for network in networks.values())
    counted = [parameters(network, 100) for network in networks.values()]
    assert max(counted) / min(counted) - 1 <= 0.05


def test_the_depths_do_not_depend_on_switches_or_on_the_layouts_that_are_named() -> None:
    which = Budget(500_000, "parameters", strides_of("fine", SIDE), 100, SIDE, Blocks(), "shared")
    depths = shared_depths(which).depths
    for text in ("C-C-T-T[relative_bias=none]", "C-C-T-T[head_dim=16]", "C-T-C-T[attention_first=true]"):
        network = resolve(text, which)
        assert isinstance(network, CoAtNetVariant)
        assert network.depths == depths
        assert parameters(network, 100) == pytest.approx(500_000, rel=0.01)
        assert macs(network, 100) == pytest.approx(shared_depths(which).low, rel=0.06)


@pytest.mark.parametrize(
    ("layouts", "switch"), [(LAYOUTS, "initialisation=normal"), (("C-C-T-T", "C-T-T-T"), "relative_bias=post")]
)
def test_a_switch_that_keeps_the_budget_keeps_the_widths(layouts: tuple[str, ...], switch: str) -> None:
    """Else what it is compared with would differ in more than the switch."""
    which = replace(budget(300_000, "fine"), depths="shared")
    for layout in layouts:
        plain, switched = resolve(layout, which), resolve(f"{layout}[{switch}]", which)
        assert isinstance(plain, CoAtNetVariant)
        assert isinstance(switched, CoAtNetVariant)
        assert (switched.depths, switched.widths) == (plain.depths, plain.widths)
        assert switched.blocks != plain.blocks


def test_the_shared_depths_given_are_the_plain_layout() -> None:
    which = replace(budget(300_000, "fine"), depths="shared")
    depths = "-".join(map(str, shared_depths(which).depths))
    assert resolve(f"C-C-T-T[depths={depths}]", which) == resolve("C-C-T-T", which)


def test_a_switch_that_leaves_the_range_of_multiply_adds_moves_the_widths_back() -> None:
    """With the plain layout's widths the parameters would do, and multiply-adds be a third more."""
    which = replace(budget(300_000, "fine"), depths="shared")
    switched = resolve("C-C-C-C[stride_in=depthwise]", which)
    assert parameters(switched, 100) == pytest.approx(300_000, rel=0.01)
    assert macs(switched, 100) < 1.2 * shared_depths(which).high


def test_a_switch_that_leaves_the_budget_moves_the_widths() -> None:
    which = replace(budget(300_000, "fine"), depths="shared")
    plain, switched = resolve("C-C-T-T", which), resolve("C-C-T-T[expansion=2]", which)
    assert isinstance(plain, CoAtNetVariant)
    assert isinstance(switched, CoAtNetVariant)
    assert switched.depths == plain.depths
    assert switched.widths != plain.widths
    assert parameters(switched, 100) == pytest.approx(300_000, rel=0.01)


def test_given_depths_go_before_shared_ones() -> None:
    which = Budget(500_000, "parameters", strides_of("fine", SIDE), 100, SIDE, Blocks(), "shared")
    network = resolve("C-C-T-T[depths=2-1-3-4-1]", which)
    assert isinstance(network, CoAtNetVariant)
    assert network.depths == (2, 1, 3, 4, 1)
    assert parameters(network, 100) == pytest.approx(500_000, rel=0.01)


def test_vit_rel_has_a_depth_of_its_own() -> None:
    which = budget(500_000, "fine")
    assert resolve("ViT_REL", replace(which, depths="shared")) == resolve("ViT_REL", which)


def test_an_experiment_shares_depths_unless_told_otherwise() -> None:
    experiment = Experiment(name="x", data=Data(name="cifar100"), variants=LAYOUTS, budget=300_000)
    networks = resolve_variants(experiment, 100)
    assert len({network.depths for network in networks.values() if isinstance(network, CoAtNetVariant)}) == 1
    free = resolve_variants(experiment.model_copy(update={"depths": "free"}), 100)
    assert free == {layout: matched(layout, budget(300_000, "fine")) for layout in LAYOUTS}
    assert len({network.depths for network in free.values() if isinstance(network, CoAtNetVariant)}) > 1


@pytest.mark.parametrize("name", ["C-C-T-T", "ViT_REL", "C-C-T-T[depths=2-1-3-4-1]"])
@pytest.mark.parametrize("depths", ["shared", "free"])
def test_budgets_beyond_what_is_searched_are_refused(name: str, depths: Any) -> None:
    with pytest.raises(StudyError, match=r"beyond 1,000,000,000, up to which sizes are searched for"):
        resolve(name, replace(budget(1_000_000_001, "fine"), depths=depths))


def test_a_budget_that_no_shared_depths_meet_is_one_sentence() -> None:
    with pytest.raises(StudyError, match=r"no depths bring C-C-C-C, .* a budget of 1,000 parameters: .*depths=free"):
        resolve("C-C-T-T", replace(budget(1_000), depths="shared"))


def test_a_billion_parameters_are_sized_in_seconds() -> None:
    which = replace(budget(10**9, "fine"), depths="shared")
    started = time.process_time()
    networks = [resolve(layout, which) for layout in STUDY_VARIANTS]
    assert time.process_time() - started < 60  # alone it takes 2 to 3, on busy cores three times as long
    assert len({network.depths for network in networks if isinstance(network, CoAtNetVariant)}) == 1
    assert all(parameters(network, 100) == pytest.approx(10**9, rel=0.01) for network in networks)


FIRST_RECORDS = {
    "ViT_REL": 88,
    "C-C-C-C": ((2, 2, 1, 2, 1), (16, 24, 40, 88, 184)),
    "C-C-C-T": ((2, 2, 1, 2, 1), (16, 24, 48, 72, 176)),
    "C-C-T-T": ((2, 1, 1, 2, 1), (16, 24, 48, 88, 152)),
    "C-T-T-T": ((2, 1, 2, 2, 1), (8, 16, 40, 80, 160)),
}


def test_the_free_search_finds_what_it_found_for_the_first_records() -> None:
    found = {}
    for layout in STUDY_VARIANTS:
        network = match_layout(layout, budget(500_000, "cheap"))
        found[layout] = (network.depths, network.widths) if isinstance(network, CoAtNetVariant) else network.width
    assert found == FIRST_RECORDS
