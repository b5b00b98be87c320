"""Each variant by itself: its stages, what it costs, its sample curves before those of the others. And the images."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import pandas as pd
from markupsafe import Markup

from study.analysis.curves import ended_well, not_diverged
from study.config import Data
from study.report.claims import Shown
from study.report.inline import inline_svg
from study.report.stages import NOTE, groups, stage_strip
from study.report.style import study_order, styles
from study.report.table import number
from study.results import Results

WIDTH, HEIGHT = 200, 64  # units of a small drawing


@dataclass(frozen=True)
class VariantCard:
    """`facts`: what and how much. `samples`: a small drawing."""

    label: str
    facts: list[tuple[str, str]]
    samples: Markup


def variant_cards(curves: pd.DataFrame, runs: pd.DataFrame) -> list[VariantCard]:
    """A card for each variant, from convolution to attention."""
    top = float(curves["test_accuracy"].max())
    return [
        VariantCard(label, list(_facts(runs[runs["variant"] == label])), _samples(label, curves, runs, top))
        for label in study_order(runs["variant"])
    ]


def _facts(own: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Means over runs that did not diverge."""
    whole = ended_well(own)
    yield "parameters", f"{own['parameters'].iloc[0]:,}"
    yield "multiply-adds", f"{own['macs'].iloc[0] / 1e6:,.1f} M"
    if "activation_bytes" in own and own["activation_bytes"].notna().any():
        yield "activations", f"{own['activation_bytes'].iloc[0] / 1e6:,.2f} MB"
    if whole["images_per_second"].notna().any():
        yield "speed", f"{whole['images_per_second'].mean():,.0f} images/s"
        yield "training time", f"{whole['seconds'].mean() / 60:,.1f} min a run"
    yield "final accuracy", f"{number(whole['final_test_accuracy'].mean(), 'accuracy')}%"


def _samples(label: str, curves: pd.DataFrame, runs: pd.DataFrame, top: float) -> Markup:
    """Test accuracy over steps, from 0 to the highest of all: every seed of a variant, all other runs faint behind."""
    alive = not_diverged(curves, runs)
    last = alive["step"].max()
    lines = {False: "", True: ""}
    for (variant, _), own in alive.groupby(["variant", "run"], sort=False):
        x, y = WIDTH * own["step"] / last, HEIGHT * (1 - own["test_accuracy"] / top)
        lines[variant == label] += "M" + "L".join(f"{a:.0f} {b:.1f}" for a, b in zip(x, y, strict=True))
    seeds = alive.loc[alive["variant"] == label, "seed"].nunique()
    told = f"Test accuracy of {label} over training, {seeds} seeds, on a scale from 0 to {top:.0%}"
    return Markup(
        '<svg viewBox="-1 -1 {w} {h}" role="img" aria-label="{told}" class="samples" preserveAspectRatio="none">'
        '<path class="others" d="{others}"/><path d="{own}" style="stroke: {colour}"/></svg>'
    ).format(
        w=WIDTH + 2, h=HEIGHT + 2, told=told, others=lines[False], own=lines[True], colour=styles([label])[label].colour
    )


def strip(results: Results, key: str) -> Shown | None:
    """The stages of all variants on one scale; None where none are known, as by tables alone, which hold no sizes."""
    known = {record.run.label: record.run.variant for record in results.records}
    side = results.experiment.data.image_size
    variants = {label: known[label] for label in study_order(known)}
    stages = {label: groups(variant, side) for label, variant in variants.items()}
    if not any(stages.values()):
        return None
    figure = stage_strip(variants, side)
    told = {
        label: ", ".join(f"{each.depth} {each.kind} of {each.width}" for each in row) for label, row in stages.items()
    }
    sizes = "; ".join(f"{label}: {row or 'not known'}" for label, row in told.items())
    svg = inline_svg(figure, f"{key}-strip", f"Stages of the variants, drawn to scale: {sizes}.")
    return Shown("strip", "Stages, drawn to scale", " ".join(NOTE), svg)


def contact_sheet(data: Data) -> str:
    """Images of the first classes as a data: URL; empty where they would have to be fetched or prepared."""
    from study.data.show import at_hand, sheet_of

    found = at_hand(data, per_class=8)
    if found is None:
        return ""
    packed = BytesIO()
    sheet_of(found, per_class=8, max_classes=10).save(packed, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"
