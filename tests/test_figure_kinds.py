"""Figures beyond curves: what they draw is what the networks are and have learned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from safetensors.torch import save_file

from study.config import (
    Blocks,
    CoAtNetVariant,
    Data,
    Experiment,
    Run,
    TimmVariant,
    Variant,
    ViTRelVariant,
)
from study.errors import StudyError
from study.models import build
from study.models.attention import Attention
from study.models.cost import amount_of
from study.models.published import PUBLISHED
from study.report import gallery
from study.report.biases import bias_maps, bias_tables, reaches, read_trained
from study.report.stages import UNKNOWN, networks_of, stage_strip
from study.results import load
from study.sweep.store import Store
from tests.finished import finish
from tests.synthetic import results, results_folder


@pytest.fixture(scope="module")
def five() -> dict[str, Variant]:
    """As matched to 300K parameters at 32 pixels, at the fine geometry."""
    widths = {
        "C-C-C-C": (16, 24, 36, 64, 144),
        "C-C-C-T": (12, 20, 48, 72, 112),
        "C-C-T-T": (12, 20, 32, 64, 124),
        "C-T-T-T": (8, 12, 24, 56, 136),
    }
    return {label: _coatnet(label, (2, 1, 1, 2, 1), each) for label, each in widths.items()} | {
        "ViT_REL": ViTRelVariant(patch=4, depth=3, width=88)
    }


def _coatnet(layout: str, depths: tuple[int, ...], widths: tuple[int, ...]) -> CoAtNetVariant:
    return CoAtNetVariant.model_validate(
        {"layout": layout, "depths": depths, "widths": widths, "strides": (1, 1, 2, 2, 2)}
    )


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
    published = {name: PUBLISHED[name].variant for name in ("coatnet_0", "coatnet_6", "coat_tiny")}
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


SMALL: dict[str, Variant] = {
    "C-C-T-T": CoAtNetVariant(
        layout="C-C-T-T", depths=(1, 1, 1, 1, 1), widths=(8, 8, 8, 64, 64), strides=(1, 1, 2, 2, 2)
    ),
    "ViT_REL": ViTRelVariant(patch=4, depth=2, width=32),
    "C-C-C-C": CoAtNetVariant(
        layout="C-C-C-C", depths=(1, 1, 1, 1, 1), widths=(8, 8, 8, 8, 8), strides=(1, 1, 2, 2, 2)
    ),
}
TO_THE_RIGHT = (3, 4)  # of a map of 7 x 7: one position to the right of the query


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with weights: every first head looks one position to the right, all others nowhere."""
    folder = tmp_path_factory.mktemp("trained") / "results"
    experiment = Experiment(name="x", data=Data(name="fractals", image_size=16), variants=tuple(SMALL), seeds=(0,))
    store = Store.create(folder, experiment)
    for label, variant in SMALL.items():
        run = Run(variant=variant, data=experiment.data, training=experiment.training, seed=0, label=label)
        finish(store, run, 0.5)
        weights = build(variant, 5, 16).state_dict()
        for name, table in weights.items():
            if name.endswith("bias_table"):
                table.zero_()
                table[0, table.shape[1] // 2, table.shape[2] // 2 - 1] = 20.0  # query minus key: -1 column
        torch.save(weights, store.path(run.id) / "weights.pt")
    return folder


def of(folder: Path, label: str) -> Path:
    return next(
        path.parent for path in (folder / "runs").glob("*/run.json") if json.loads(path.read_text())["label"] == label
    )


def test_maps_show_where_each_head_of_each_layer_looks(trained: Path) -> None:
    for label, layers in (("C-C-T-T", {"S3 block 1": 2, "S4 block 1": 2}), ("ViT_REL", {"block 1": 1, "block 2": 1})):
        network = read_trained(of(trained, label))
        tables = bias_tables(network)
        assert {name: len(table) for name, table in tables.items()} == layers
        figure = bias_maps(network)
        images = [axes.images[0] for axes in figure.axes if axes.images]
        assert len(images) == sum(layers.values())
        table = next(iter(tables.values()))
        assert np.unravel_index(table[0].argmax(), table[0].shape) == TO_THE_RIGHT
        left, right, below, above = images[0].get_extent()
        assert (left, right, below, above) == (-3.5, 3.5, 3.5, -3.5)
        assert f"{label}, seed 0" in str(figure.get_label())
    with pytest.raises(StudyError, match=r"C-C-C-C has no relative biases"):
        bias_maps(read_trained(of(trained, "C-C-C-C")))


def test_the_reach_of_a_bias_is_that_of_attention_itself() -> None:
    """Held against `Attention` with no logits but the bias; equal biases reach as far as none."""
    attention = Attention(8, 64, (3, 4), Blocks(head_dim=32)).eval()
    table = torch.randn(attention.bias_table.shape, generator=torch.Generator().manual_seed(0))
    attention.bias_table.data = 2 * table
    weights = attention.bias().detach().softmax(-1).double().numpy()
    places = np.array([(row, column) for row in range(3) for column in range(4)], dtype=float)
    distances = np.sqrt(((places[:, None] - places) ** 2).sum(-1))
    wanted = (weights * distances).sum(-1).mean(-1) / distances.mean()
    turned = attention.bias_table.detach().double().numpy()[:, ::-1, ::-1]
    assert reaches(turned) == pytest.approx(wanted)
    assert reaches(np.ones((2, 5, 7))) == pytest.approx([1, 1])


def test_figures_are_drawn_by_name_and_what_cannot_be_says_why(trained: Path, tmp_path: Path) -> None:
    results = load(trained)
    paths, missing = gallery.plot(results, ["stages", "relative_bias", "accuracy_by_images"], ["svg"])
    assert [path.name for path in paths] == ["stages.svg", "relative_bias-C-C-T-T.svg", "relative_bias-ViT_REL.svg"]
    assert len(missing) == 1
    assert "several numbers of training images" in missing[0]
    assert results.figure("stages").axes
    assert "C-C-T-T" in str(results.figure("relative_bias").get_label())
    shutil.copytree(trained, tmp_path / "committed", ignore=shutil.ignore_patterns("*.pt"))
    with pytest.raises(StudyError, match="no weights of finished runs are here"):
        load(tmp_path / "committed").figure("relative_bias")


def test_a_claims_differences_and_ranks_are_drawn_as_the_report_has_them(tmp_path: Path) -> None:
    folder = results_folder(tmp_path / "made", results(seeds=range(5)))
    found = load(folder)
    paths, missing = gallery.plot(found, ["forest", "ranks"], ["svg"])
    assert not missing
    assert {path.stem for path in paths} == {
        f"{name}-{number}" for name in ("forest", "ranks") for number in range(1, 1 + len(found.experiment.claims))
    }
    verdict = found.view.verdicts[0]
    axes = found.figure("forest").axes[0]
    drawn = sorted(line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1)
    assert drawn == pytest.approx(sorted(100 * pair.difference for pair in verdict.pairs))
    assert "points" in axes.get_xlabel()


def test_the_folder_of_a_run_and_an_exported_network_have_their_own_figures(trained: Path, tmp_path: Path) -> None:
    run = of(trained, "ViT_REL")
    save_file(torch.load(run / "weights.pt", weights_only=True), tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"run": json.loads((run / "run.json").read_text())}))
    drawn = [gallery.plot_trained(folder, ["svg"]) for folder in (run, tmp_path)]
    assert [[path.name for path in each] for each in drawn] == [["stages.svg", "relative_bias.svg"]] * 2
    assert drawn[0][1].read_bytes() == drawn[1][1].read_bytes()
    (run / "weights.pt").rename(tmp_path / "away")
    with pytest.raises(StudyError, match="has no weights"):
        read_trained(run)
    (tmp_path / "away").rename(run / "weights.pt")


def test_networks_of_which_only_tables_are_here_are_sized_anew_if_they_come_out_the_same(tmp_path: Path) -> None:
    names = ("coat_lite_tiny", "coat_lite_mini")
    experiment = Experiment(name="x", data=Data(name="cifar100"), variants=names, seeds=(0,))
    Store.create(tmp_path, experiment)
    size = amount_of(PUBLISHED[names[0]].variant, 100, 32, "parameters")
    runs = pd.DataFrame({"run": ["a", "b"], "variant": names, "parameters": [size, size], "status": "ok"})
    for table in ("runs.csv", "curves.csv"):
        runs.to_csv(tmp_path / table, index=False)
    assert networks_of(load(tmp_path)) == {names[0]: PUBLISHED[names[0]].variant}
