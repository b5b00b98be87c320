"""What `--precision auto` stands for: the precision of the results folder, else whichever trains faster here."""

from __future__ import annotations

from rich.console import Console

from study.config import Experiment
from study.designs.base import Options, folder_of
from study.report.table import say as tell
from study.sweep.executors.local import slots
from study.sweep.measure import measure
from study.sweep.plan import make_plan
from study.sweep.store import Store

WORTH = 1.1  # times as fast as fp32, for what bf16 costs in digits
IMAGES = 16  # of a measured step on CPU: where the processor only emulates bf16, a whole batch takes a minute


def with_precision(experiment: Experiment, options: Options, say: Console) -> Experiment:
    """The experiment at the precision that it will have, which is said to `say` with its reason.

    Results are of one precision, so what a folder already holds is kept. In a new one a step of one variant is timed
    at both: of the layout with both kinds of stages, or else of the first. Agents that run elsewhere are not measured
    from here: what the experiment states stays.
    """
    recipe = experiment.training
    precision: str = recipe.precision
    reason = "as the experiment states: agents run elsewhere, which is not measured"
    known = next(iter(sorted(folder_of(experiment, options).glob("**/experiment.json"))), None)
    if known is not None:
        precision, reason = Store(known.parent).experiment.training.precision, f"as in {known.parent}"
    elif options.on == "local":
        precision, reason = _faster(experiment, options)
    tell(f"precision {precision}: {reason}", say)
    return experiment.model_copy(update={"training": recipe.model_copy(update={"precision": precision})})


def _faster(experiment: Experiment, options: Options) -> tuple[str, str]:
    import torch

    slot = slots(options.device, 1)[0]
    capability = torch.backends.cpu.get_cpu_capability()
    if slot.device == "cpu" and capability in ("AVX2", "DEFAULT", "NO AVX"):
        return "fp32", f"this processor has no instructions for bf16 ({capability})"
    plan = make_plan(experiment, options.data_dir)
    label = "C-C-T-T" if "C-C-T-T" in plan.variants else next(iter(plan.variants))
    recipe = plan.experiment.training
    images = min(recipe.batch_size, IMAGES) if slot.device == "cpu" else recipe.batch_size
    single, half = (
        measure(
            {label: plan.variants[label]},
            recipe.model_copy(update={"precision": precision, "batch_size": images}),
            plan.classes,
            plan.experiment.data.image_size,
            [slot],
        )[label].step
        for precision in ("fp32", "bf16")
    )
    faster = "bf16" if single > WORTH * half else "fp32"
    return faster, f"bf16 trains {label} at {single / half:.2g} times the speed of fp32 here"
