"""Networks of the user's own: named by file, checked before any run, known by their source."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from study.cli import Interrupted
from study.config import Blocks, Claim, Data, Experiment, Fractals, OwnVariant, Run, Start, TimmVariant, Training
from study.designs import COMPLETE, Grid, Options, Plain, Rates, Sizes, carry_out
from study.errors import StudyError
from study.export import export_run, load_exported
from study.files import write_json
from study.models import build
from study.models.catalog import resolve
from study.models.cost import network_cost
from study.models.interop import classifier_names, read_weights, with_classifier
from study.models.sizing import Budget, strides_of
from study.models.timm_networks import import_timm
from study.own_files import blamed, find_file
from study.report.console import rank
from study.report.gallery import plot
from study.report.page import write_all
from study.results import load
from study.sweep.plan import Facts, load_experiment, make_plan
from study.sweep.status import status_of
from study.sweep.store import Store
from study.sweep.tuned import read_tuned
from study.training.loop import train
from study.training.optimizer import make_optimizer
from study.training.start import build_from, fingerprint, freeze
from tests.finished import pretend

SMALL = """
from torch import nn
import layers

class Net(nn.Module):
    def __init__(self, classes, image_size, width=8):
        super().__init__()
        self.stem = layers.stem(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        return self.classifier(self.stem(x).relu().mean((2, 3)))
"""
LAYERS = "from torch import nn\ndef stem(width):\n    return nn.Conv2d(3, width, 3, 2)\n"
BUDGET = Budget(2_000, "parameters", strides_of("auto", 16), 4, 16, Blocks())
DATA = Data(image_size=16, fractals=Fractals(classes=4, train_images=40, test_images=20))
RECIPE = Training(epochs=1, batch_size=8, probe_size=16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a network in `mine.py` and what it is made of in `layers.py`."""
    (tmp_path / "mine.py").write_text(SMALL)
    (tmp_path / "layers.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(text: str, budget: Budget = BUDGET) -> OwnVariant:
    variant = resolve(text, budget)
    assert isinstance(variant, OwnVariant)
    return variant


def run_of(variant: OwnVariant | TimmVariant, label: str = "mine.py:Net") -> Run:
    return Run(variant=variant, data=DATA, training=RECIPE, seed=0, label=label)


def test_a_network_in_a_file_is_built_and_measured_as_ours_are(folder: Path):
    variant = own("mine.py:Net[width=12]")
    network = build(variant, 4, 16, seed=1)
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
    cost = network_cost(variant, 4, 16)
    assert cost.parameters == sum(p.numel() for p in network.parameters()) == 12 * 28 + 13 * 4
    assert cost.macs == 7 * 7 * 27 * 12 + 12 * 4
    assert cost.activation_bytes > 0


def test_a_network_that_branches_on_values_in_training_alone_is_counted_on_the_cpu(folder: Path):
    text = SMALL.replace(
        "        return", "        if self.training and x.sum().item() > 1e9:\n            x = -x\n        return"
    )
    plain = network_cost(own("mine.py:Net"), 4, 16)
    (folder / "mine.py").write_text(text)
    cost = network_cost(own("mine.py:Net"), 4, 16)
    assert (cost.parameters, cost.macs) == (plain.parameters, plain.macs)
    assert cost.activation_bytes > 0


@pytest.mark.parametrize("match", ["parameters", "macs"])
def test_numbers_that_the_forward_pass_refuses_are_passed_over(folder: Path, match):
    text = SMALL.replace("self.stem(x)", "self.stem(x).unflatten(1, (8, -1)).flatten(1, 2)")
    (folder / "mine.py").write_text(text)
    budget = Budget(5_124 if match == "parameters" else 212_320, match, BUDGET.strides, 4, 16, Blocks())
    assert own("mine.py:Net[width=?]", budget).switches == {"width": 160}


def test_what_a_file_makes_for_itself_is_real_after_its_network_was_sized(folder: Path):
    (folder / "mine.py").write_text("import torch\nMEAN = torch.full((1,), 0.5)\n" + SMALL.replace("(x)", "(x - MEAN)"))
    network = build(own("mine.py:Net[width=?]"), 4, 16)
    assert network(torch.zeros(1, 3, 16, 16)).device.type == "cpu"


def test_a_network_in_a_package_is_found_from_the_current_folder_on(folder: Path):
    (folder / "nets_of_mine" / "deep").mkdir(parents=True)
    (folder / "nets_of_mine" / "__init__.py").touch()
    (folder / "nets_of_mine" / "deep" / "__init__.py").touch()
    (folder / "nets_of_mine" / "parts.py").write_text(LAYERS)
    (folder / "nets_of_mine" / "deep" / "plain.py").write_text(
        SMALL.replace("import layers", "from .. import parts as layers")
    )
    variant = own("nets_of_mine.deep.plain:Net")
    assert build(variant, 4, 16)(torch.zeros(1, 3, 16, 16)).shape == (1, 4)
    (folder / "nets_of_mine" / "parts.py").write_text(LAYERS + "\nMORE = 1\n")
    assert find_file("nets_of_mine.deep.plain").source != variant.source
    with pytest.raises(StudyError, match="not what this run was planned with"):
        build(variant, 4, 16)


def test_what_a_network_imports_from_its_folder_decides_the_id_and_where_it_lies_does_not(folder: Path):
    first = run_of(own("mine.py:Net"))
    (folder / "elsewhere").mkdir()
    shutil.copy(folder / "mine.py", folder / "elsewhere" / "other_name.py")
    shutil.copy(folder / "layers.py", folder / "elsewhere")
    assert find_file("elsewhere/other_name.py").source != first.variant.source  # the name is a part of the text
    shutil.move(folder / "elsewhere" / "other_name.py", folder / "elsewhere" / "mine.py")
    assert run_of(own("elsewhere/mine.py:Net")).id == first.id
    (folder / "layers.py").write_text(LAYERS.replace("3, 2)", "3, 1)"))
    assert run_of(own("mine.py:Net")).id != first.id
    assert run_of(own("mine.py:Net[width=9]")).id != run_of(own("mine.py:Net")).id


def test_the_experiment_and_the_docstring_in_the_same_file_do_not_count(folder: Path):
    text = '"""A card."""\nimport study\n' + SMALL
    statement = "experiment = study.Experiment(\n    name='mine',\n    variants=('mine.py:Net',),\n    seeds={},\n)\n"
    (folder / "mine.py").write_text(text + statement.format("(0,)"))
    first = load_experiment(folder / "mine.py")
    source = own("mine.py:Net").source
    (folder / "mine.py").write_text(text.replace("card", "card with results") + statement.format("(0, 1)"))
    assert load_experiment(folder / "mine.py").seeds != first.seeds
    assert own("mine.py:Net").source == source


def test_two_folders_with_modules_of_one_name_do_not_mix(folder: Path):
    other = folder / "other"
    other.mkdir()
    (other / "mine.py").write_text(SMALL)
    (other / "layers.py").write_text(LAYERS.replace("3, 2)", "5, 2)"))
    kernels = [build(own(text), 4, 16).stem.kernel_size for text in ("mine.py:Net", "other/mine.py:Net", "mine.py:Net")]
    assert kernels == [(3, 3), (5, 5), (3, 3)]
    assert "layers" not in sys.modules


def test_an_edited_network_is_read_anew_in_the_same_process_and_the_old_runs_refuse_it(folder: Path):
    old = own("mine.py:Net")
    (folder / "layers.py").write_text(LAYERS.replace("3, 2)", "5, 2)"))
    with pytest.raises(StudyError, match="not what this run was planned with"):
        build(old, 4, 16)
    assert build(own("mine.py:Net"), 4, 16).stem.kernel_size == (5, 5)


# ---------------------------------------------------------------- size matching


def test_a_free_switch_gets_the_whole_number_that_meets_the_budget(folder: Path):
    variant = own("mine.py:Net[width=?]")
    assert abs(network_cost(variant, 4, 16).parameters / 2_000 - 1) <= 0.01
    assert variant.switches == {"width": 62}
    macs = own("mine.py:Net[width=?]", Budget(100_000, "macs", strides_of("auto", 16), 4, 16, Blocks()))
    assert abs(network_cost(macs, 4, 16).macs / 100_000 - 1) <= 0.01


def test_numbers_that_a_network_refuses_are_passed_over(folder: Path):
    refusing = SMALL.replace("super()", "assert width % 12 == 0, 'heads of 12'\n        super()")
    (folder / "mine.py").write_text(refusing)
    assert own("mine.py:Net[width=?]", Budget(1_924, "parameters", BUDGET.strides, 4, 16, Blocks())).switches == {
        "width": 60
    }
    with pytest.raises(
        StudyError, match=r"no whole number for width comes within 1% .* the nearest, width=60, has 1,924"
    ):
        own("mine.py:Net[width=?]")


def test_the_found_number_stands_in_labels_and_claims(folder: Path):
    free = "mine.py:Net[width=?]"
    experiment = Experiment(
        name="sized", data=DATA, training=RECIPE, variants=(free, "mine.py:Net[width=4]"), budget=2_000, seeds=(0,),
        claims=(Claim(ranking=f"{free} > mine.py:Net[width=4]"),),
    )  # fmt: skip
    plan = make_plan(experiment)
    assert [run.label for run in plan.runs] == ["mine.py:Net[width=62]", "mine.py:Net[width=4]"]
    assert plan.experiment.claims[0].ranking == "mine.py:Net[width=62] > mine.py:Net[width=4]"
    assert plan.experiment.variants == tuple(plan.variants)


def test_a_switch_is_a_value_that_a_record_can_hold(folder: Path):
    (folder / "mine.py").write_text(SMALL.replace("width=8", "width=8, **more"))
    variant = own("mine.py:Net[a=True,b=none,c=1-2,d=NaN,e=1e999,f=-0.5]")
    assert variant.switches == {"a": True, "b": "none", "c": [1, 2], "d": "NaN", "e": "1e999", "f": -0.5}
    assert Run.model_validate_json(run_of(variant).model_dump_json()).id == run_of(variant).id


def test_layouts_have_no_free_switches():
    with pytest.raises(StudyError, match="only networks of one's own"):
        resolve("cctt[head_dim=?]", BUDGET)


# ---------------------------------------------------------------- runs


def test_a_run_trains_and_its_record_is_read_without_the_file(folder: Path):
    run = run_of(own("mine.py:Net"))
    kept = folder / run.id
    result = train(run, kept)
    assert result is not None
    write_json(kept / "run.json", run.model_dump(mode="json"))
    assert (result["status"], result["parameters"]) == ("ok", 8 * 28 + 9 * 4)
    (folder / "mine.py").write_text("raise SystemExit('it was run')")
    again = Run.model_validate_json(json.dumps(result["run"]))
    assert again.id == run.id
    with pytest.raises(StudyError, match="not what this run was planned with"):
        train(again, folder / "again")
    (folder / "mine.py").unlink()
    with pytest.raises(StudyError, match="bring the file to that place"):
        train(again, folder / "again")
    with pytest.raises(StudyError, match="bring the file to that place; or give --no-onnx"):
        export_run(kept, folder / "exported")
    assert len(export_run(kept, folder / "exported", onnx=False)) == 2
    with pytest.raises(StudyError, match="bring the file to that place"):
        load_exported(folder / "exported")


def test_an_edited_network_is_not_mixed_into_the_results_of_the_old_one(folder: Path):
    experiment = Experiment(name="edited", data=DATA, training=RECIPE, variants=("mine.py:Net",), seeds=(0,))
    plan = make_plan(experiment)
    store = Store.create(folder / "results", plan.experiment)
    store.plan(plan.runs)
    (folder / "mine.py").write_text(SMALL.replace("relu", "sigmoid"))
    edited = make_plan(experiment)
    store = Store.create(folder / "results", edited.experiment)  # nothing had started: it is planned anew
    store.plan(edited.runs)
    assert [run.id for run in store.runs()] == [run.id for run in edited.runs]
    train(edited.runs[0], store.path(edited.runs[0].id))
    Store.create(folder / "results", edited.experiment)
    with pytest.raises(StudyError, match="has changed since"):
        Store.create(folder / "results", plan.experiment)


def test_a_file_beside_the_experiment_is_found_from_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "study_of_mine.py").write_text(
        "import study\nexperiment = study.Experiment(name='mine', variants=('mine.py:Net',), seeds=(0,))\n"
    )
    away = folder / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    experiment = load_experiment(Path("../study_of_mine.py"))
    assert experiment.variants == ("mine.py:Net",)
    plan = make_plan(experiment.model_copy(update={"data": DATA, "training": RECIPE}))
    (variant,) = plan.variants.values()
    assert isinstance(variant, OwnVariant)
    assert Path(variant.path).resolve() == (folder / "mine.py").resolve()


def test_another_process_builds_the_same_network(folder: Path):
    run = run_of(own("mine.py:Net"))
    code = (
        "import sys, torch\nfrom study.config import Run\nfrom study.models import build\n"
        "from study.training.start import fingerprint\n"
        "run = Run.model_validate_json(sys.argv[1])\n"
        "print(run.id, fingerprint(build(run.variant, 4, 16, seed=3).state_dict()))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, run.model_dump_json()], capture_output=True, text=True, cwd="/", check=True
    )
    assert done.stdout.split() == [run.id, fingerprint(build(run.variant, 4, 16, seed=3).state_dict())]


REGISTERED = (
    SMALL
    + """
from timm.models import register_model

@register_model
def net_of_mine(pretrained=False, num_classes=10, **rest):
    return Net(num_classes, 16)
"""
)


def test_a_network_that_an_experiment_file_registers_with_timm_is_found_by_other_processes(folder: Path):
    import_timm()  # also where torchvision is broken, which the file itself does not see to
    (folder / "registering.py").write_text(
        REGISTERED + "\nimport study\nexperiment = study.Experiment(name='mine', variants=('timm:net_of_mine',))\n"
    )
    experiment = load_experiment(folder / "registering.py")
    assert "layers" not in sys.modules
    variant = resolve(experiment.variants[0], BUDGET)
    assert isinstance(variant, TimmVariant)
    assert variant.path == str(folder / "registering.py")
    assert classifier_names(build(variant, 4, 16)) == {"classifier.weight", "classifier.bias"}
    code = (
        "import sys\nfrom study.config import Run\nfrom study.models import build\n"
        "print(sum(p.numel() for p in build(Run.model_validate_json(sys.argv[1]).variant, 4, 16).parameters()))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, run_of(variant).model_dump_json()],
        capture_output=True, text=True, cwd="/", check=True,
    )  # fmt: skip
    assert int(done.stdout) == 8 * 28 + 9 * 4
    assert "source" in json.dumps(variant.model_dump())


def test_a_network_of_timm_itself_has_the_id_that_it_always_had():
    assert run_of(TimmVariant(model="resnet18"), "timm:resnet18").id == "c9fe53f39121"


# ---------------------------------------------------------------- contracts


def test_the_classifier_is_the_last_layer_with_as_many_outputs_as_classes_unless_the_network_says(folder: Path):
    assert classifier_names(build(own("mine.py:Net"), 4, 16)) == {"classifier.weight", "classifier.bias"}
    plain = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 5))
    assert classifier_names(with_classifier(plain, 4)) == {"3.weight", "3.bias"}
    squeeze = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert classifier_names(with_classifier(squeeze, 4)) == {"1.weight", "1.bias"}
    with pytest.raises(StudyError, match=r"add a method get_classifier\(\)"):
        classifier_names(with_classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), 4))


def test_an_own_network_is_fine_tuned_and_probed(folder: Path):
    run = run_of(own("mine.py:Net"))
    train(run, folder / "pretraining")
    path = folder / "pretraining" / "weights.pt"
    start = Start(run=run.id, weights=fingerprint(read_weights(path)), image_size=16, path=str(path))
    network = build_from(start, folder, run.variant, 3, 24, seed=0)
    assert torch.equal(network.state_dict()["stem.weight"], read_weights(path)["stem.weight"])
    freeze(network)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_a_network_says_what_gets_no_weight_decay(folder: Path):
    saying = SMALL + "\n    def no_weight_decay(self):\n        return {'stem.weight'}\n"
    (folder / "mine.py").write_text(saying)
    network = build(own("mine.py:Net"), 4, 16)
    decayed, spared = make_optimizer(network, Training(weight_decay=0.1)).param_groups
    assert [p.shape for p in decayed["params"]] == [network.classifier.weight.shape]
    assert spared["weight_decay"] == 0
    (folder / "mine.py").write_text(saying.replace("'stem.weight'", "'stem.wait'"))
    with pytest.raises(StudyError, match=r"no_weight_decay\(\) of mine.py:Net names 'stem.wait'"):
        own("mine.py:Net")


# ---------------------------------------------------------------- bad input

BODY = "return self.classifier(self.stem(x).relu().mean((2, 3)))"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("class Net", "class Other", "defines no class or function Net"),
        ("import layers", "import layers_that_are_not", "line 3: running it raised ModuleNotFoundError"),
        ("class Net(", "class Net((", "line 5: running it raised SyntaxError"),
        ("class Net", "raise SystemExit(3)\nclass Net", "running it raised SystemExit: 3"),
        ("super().__init__()", "super().__init__(); 1 / 0", "line 7: Net raised ZeroDivisionError"),
        ("classes, image_size, width=8", "classes", "Net raised TypeError: .*image_size"),
        ("class Net(nn.Module)", "def Net(classes, image_size):\n    return 3\nclass Other(nn.Module)", "returned int"),
        (BODY, "return self.stem(x)", r"logits of shape \(2, 8, 7, 7\) for 2 images: \(2, 4\) is wanted"),
        (BODY, "return {'logits': x}", "gives dict for images"),
        (BODY, BODY + " / 0", "not finite"),
        (BODY, BODY + ".detach()", "not differentiable"),
        (BODY, BODY + ".argmax(1, True).float() * layers.one(4)", "not differentiable"),
        (BODY, BODY + " + __import__('torch').rand(1)", "in eval mode two forward passes"),
        (BODY, "return self.no_such_layer(x)", "line 12: the forward pass of mine.py:Net raised AttributeError"),
        ("self.stem = ", "import random; width += random.randrange(10**6) % 7 * 0 + random.choice([0, 0]); "
         "self.noise = nn.Parameter(__import__('torch').tensor(random.random())); self.stem = ", "of one seed"),
        (SMALL[SMALL.index("class Net"):], "ONE = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))\n"
         "def Net(classes, image_size):\n    return ONE\n", "one and the same network twice"),
        (SMALL[SMALL.index("class Net"):], "def Net(classes, image_size):\n    return nn.Flatten()\n", "no parameters"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_one_sentence_before_anything_runs(folder: Path, old: str, new: str, said: str):
    (folder / "layers.py").write_text(LAYERS + "import torch\none = torch.ones\n")
    assert old in SMALL
    (folder / "mine.py").write_text(SMALL.replace(old, new))
    with pytest.raises(StudyError, match=said) as error:
        own("mine.py:Net")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nowhere.py:Net", "there is no file .*nowhere.py"),
        ("no_such_package.at_all:Net", "no Python module 'no_such_package.at_all'"),
        ("mine.py:Net[classes=3]", "classes is given by the data"),
        ("mine.py:Net[width=?,depth=?]", "one switch can be free"),
        ("mine.py:Net[depth=2]", "Net raised TypeError: .*depth"),
    ],
)
def test_a_wrong_reference_is_one_sentence(folder: Path, text: str, said: str):
    with pytest.raises(StudyError, match=said):
        own(text)


@pytest.mark.parametrize("signalled", [KeyboardInterrupt, Interrupted])
def test_a_signal_while_ones_own_code_runs_is_not_blamed_on_it(signalled: type[BaseException]):
    """Interrupted became a sentence on the file and exit code 2; the same command continues, so it is 3."""
    with pytest.raises(signalled), blamed("mine.py"):
        raise signalled


def test_the_command_leaves_with_a_sentence_and_nothing_half_written(folder: Path):
    (folder / "mine.py").write_text(SMALL.replace(BODY, "return x"))
    command = [sys.executable, "-m", "study", "sweep", "--variants", "mine.py:Net", "--image-size", "16"]
    done = subprocess.run([*command, "--out", "results"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: mine.py:Net gives logits of shape (2, 3, 16, 16)")
    assert not (folder / "results").exists()


@pytest.mark.usefixtures("one_figure")
def test_a_free_switch_is_found_once_for_tuning_sizes_and_the_sweep_after_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    pretend(monkeypatch, lambda run: 0.5 + 0.1 * run.seed % 0.3)
    free = "mine.py:Net[width=?]"
    experiment = Experiment(
        name="tiny", data=DATA, training=RECIPE.model_copy(update={"epochs": 1}), variants=(free, "ViT_REL"),
        seeds=(0, 1), budget=60_000, claims=(Claim(ranking=f"{free} > ViT_REL", readout="final_test_accuracy"),),
    )  # fmt: skip
    quiet, label = Console(quiet=True), "mine.py:Net[width=1875]"
    options = Options(out=folder / "out", device="cpu")
    for design in (Rates(experiment, options, Grid(grow=False), Facts()), Plain(experiment, options)):
        assert carry_out(design, options, quiet).code == COMPLETE
    assert set(read_tuned(folder / "out").rates) == {label, "ViT_REL"}  # type: ignore[union-attr]
    assert set(load(folder / "out").runs["variant"]) == {label, "ViT_REL"}
    options = Options(out=folder / "sizes", device="cpu")
    sizes = Sizes(experiment.model_copy(update={"parts": (0.5, 1.0)}), options, Facts())
    assert carry_out(sizes, options, quiet).code == COMPLETE
    assert load(folder / "sizes").experiment.variants == (label, "ViT_REL")
    assert [each.claim.ranking for each in load(folder / "sizes").by_size] == [f"{label} > ViT_REL"] * 2
    (folder / "mine.py").unlink()  # records are read without it
    rank(load(folder / "out"), quiet)
    assert plot(load(folder / "sizes"), ["accuracy_by_images"])[0]
    assert all(page.exists() for page in write_all([folder / "out", folder / "sizes"], folder / "r.html", False))
    assert {row["state"] for each in status_of(folder / "sizes") for row in each["runs"]} == {"done"}
