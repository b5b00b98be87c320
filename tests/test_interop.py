"""Our networks against timm's, weight for weight; any network of timm; files of weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from study.bench.run import bench_variant
from study.bench.timm_twins import timm_coatnet, timm_vit_rel
from study.config import STUDY_VARIANTS, Blocks, CoAtNetVariant, CoaTVariant, TimmVariant, Variant, ViTRelVariant
from study.errors import StudyError
from study.models import build
from study.models.coat import CoaT
from study.models.interop import from_timm, load_weights, read_weights
from study.models.published import COAT
from study.models.timm_networks import import_timm
from tests.oracles import randomise

CLASSES = 7
LARGE = ("coat_lite_medium", "coat_small")
SMALL_COAT = CoaTVariant(widths=(16, 24, 24, 24), depths=(1, 1, 1, 1), parallel_depth=1, mlp_ratios=(2, 2, 2, 2))


def coatnet(layout: str, **switches: object) -> CoAtNetVariant:
    blocks = Blocks.model_validate({"head_dim": 16, **switches})
    widths = (16, 16, 32, 64, 96)
    return CoAtNetVariant(layout=layout, depths=(2, 2, 1, 2, 1), widths=widths, strides=(2, 2, 2, 2, 2), blocks=blocks)


def images(*sides: int) -> Tensor:
    return torch.randn(2, 3, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def outputs_and_gradients(network: nn.Module, x_BCHW: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits, and the gradients of a sum of them by the images and by each parameter that has one."""
    x_BCHW = x_BCHW.clone().requires_grad_()
    logits = network(x_BCHW)
    (logits * torch.arange(1, logits.numel() + 1).view_as(logits)).sum().backward()
    assert x_BCHW.grad is not None
    named = network.named_parameters(remove_duplicate=False)
    return logits.detach(), x_BCHW.grad, {name: value.grad for name, value in named if value.grad is not None}


def assert_twins(theirs: nn.Module, ours: nn.Module, x_BCHW: Tensor) -> None:
    """Same function: logits, gradients by the images, gradients by every parameter, to 1e-9 in float64."""
    theirs, ours = randomise(theirs, seed=0), ours.double()
    ours.load_state_dict(from_timm(theirs.state_dict(), ours))
    logits, by_images, by_parameters = outputs_and_gradients(theirs, x_BCHW)
    our_logits, our_by_images, our_by_parameters = outputs_and_gradients(ours, x_BCHW)
    torch.testing.assert_close(our_logits, logits, rtol=1e-10, atol=1e-10 * logits.abs().max().item())
    torch.testing.assert_close(our_by_images, by_images, rtol=1e-9, atol=1e-9 * by_images.abs().max().item())
    renamed = from_timm(by_parameters, ours)
    assert our_by_parameters
    for name, gradient in our_by_parameters.items():
        # 1e-12: the gradient of a bias in front of batch statistics is zero but for rounding
        tolerance = 1e-9 * renamed[name].abs().max().item() + 1e-12
        assert torch.allclose(gradient, renamed[name], rtol=1e-9, atol=tolerance), name


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in COAT])
def test_coat_computes_what_timm_computes(timm: ModuleType, name: str) -> None:
    with torch.device("meta"):  # no time is spent on weights that are replaced
        theirs = timm.create_model(name, num_classes=CLASSES, img_size=(64, 32))
        ours = build(COAT[name].variant, CLASSES, 64)
    assert_twins(theirs.to_empty(device="cpu").eval(), ours.to_empty(device="cpu").eval(), images(64, 32))


@pytest.mark.parametrize("layout", ["C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T"])
@pytest.mark.parametrize("dense_head", [False, True], ids=["plain head", "dense head"])
def test_coatnet_computes_what_timm_computes(timm: ModuleType, layout: str, dense_head: bool) -> None:
    variant = coatnet(layout, dense_head=dense_head)
    assert_twins(timm_coatnet(variant, CLASSES, 64).eval(), build(variant, CLASSES, 64).eval(), images(64, 64))


@pytest.mark.parametrize(
    "switch",
    [
        {"stride_in": "depthwise"},
        {"relative_bias": "none"},
        {"conv_norm": "layer"},
        {"se_ratio": 0.0},
        {"se_ratio": 0.5},
        {"head_dim": 32},
        {"expansion": 2},
    ],
    ids=str,
)
def test_the_switches_of_coatnet_compute_what_timms_options_do(timm: ModuleType, switch: dict[str, object]) -> None:
    variant = coatnet("C-C-T-T", **switch)
    assert_twins(timm_coatnet(variant, CLASSES, 64).eval(), build(variant, CLASSES, 64).eval(), images(64, 64))


def test_coatnet_trains_as_timms_with_batch_statistics(timm: ModuleType) -> None:
    variant = coatnet("C-C-T-T")
    assert_twins(timm_coatnet(variant, CLASSES, 64).train(), build(variant, CLASSES, 64).train(), images(64, 64))


def test_vit_rel_computes_what_timm_computes(timm: ModuleType) -> None:
    variant = ViTRelVariant(patch=16, depth=2, width=48, blocks=Blocks(head_dim=16))
    assert_twins(timm_vit_rel(variant, CLASSES, 64).eval(), build(variant, CLASSES, 64).eval(), images(64, 64))


@pytest.mark.parametrize("strides", [(1, 1, 2, 2, 2), (2, 1, 2, 2, 2), (1, 2, 2, 2, 2)], ids=str)
@pytest.mark.parametrize(
    ("layout", "stride_in"), [("C-C-T-T", "expand"), ("C-T-T-T", "expand"), ("C-C-T-T", "depthwise")]
)
def test_with_the_strides_for_small_images_timm_still_computes_the_same(
    timm: ModuleType, strides: tuple[int, int, int, int, int], layout: str, stride_in: str
) -> None:
    variant = coatnet(layout, stride_in=stride_in).model_copy(update={"strides": strides})
    assert_twins(timm_coatnet(variant, CLASSES, 32).eval(), build(variant, CLASSES, 32).eval(), images(32, 32))


def test_the_benchmarks_networks_are_timms_in_every_layout(timm: ModuleType) -> None:
    for layout in STUDY_VARIANTS:
        variant = bench_variant(layout)
        make = timm_vit_rel if layout == "ViT_REL" else timm_coatnet
        theirs, ours = make(variant, CLASSES, 32).eval(), build(variant, CLASSES, 32).eval()
        theirs = randomise(theirs, seed=0).float()
        ours.load_state_dict(from_timm(theirs.state_dict(), ours))
        x_BCHW = images(32, 32).float()
        torch.testing.assert_close(ours(x_BCHW), theirs(x_BCHW), rtol=1e-4, atol=1e-4)


def test_vit_rel_with_another_hidden_width_computes_what_timm_computes(timm: ModuleType) -> None:
    variant = ViTRelVariant(patch=16, depth=2, width=48, hidden=184, blocks=Blocks(head_dim=16))
    assert_twins(timm_vit_rel(variant, CLASSES, 64).eval(), build(variant, CLASSES, 64).eval(), images(64, 64))


@pytest.mark.parametrize(
    ("variant", "what"),
    [
        (coatnet("C-C-T-T", relative_bias="post"), "a bias after the softmax"),
        (coatnet("C-C-T-T", attention="local"), "local attention"),
        (coatnet("C-C-T-T", absolute_positions=True), "absolute positions"),
        (coatnet("C-C-T-T", head_dim=48), r"heads of 48 in widths of \[64, 96\]"),
        (coatnet("C-C-T-T").model_copy(update={"strides": (4, 2, 2, 2, 1)}), r"strides of \(4, 2, 2, 2, 1\)"),
        (coatnet("C-C-T-T").model_copy(update={"split": (1, 32)}), "stages of two widths"),
        (SMALL_COAT, "timm's CoAtNet is no coat"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_timm_cannot_express_is_refused(variant: Variant, what: str) -> None:
    with pytest.raises(StudyError, match=what):
        timm_coatnet(variant, CLASSES, 64)


# ---------------------------------------------------------------- any network of timm


def test_resnet18_of_timm_is_a_variant_at_32_pixels(timm: ModuleType) -> None:
    network = build(TimmVariant(model="resnet18"), CLASSES, 32).eval()
    assert network(images(32, 32).float()).shape == (2, CLASSES)
    again = build(TimmVariant(model="resnet18"), CLASSES, 32)
    assert same_weights(network, again)
    assert not same_weights(network, build(TimmVariant(model="resnet18"), CLASSES, 32, seed=1))


def test_networks_of_timm_with_positions_are_built_for_the_side(timm: ModuleType) -> None:
    network = build(TimmVariant(model="vit_tiny_patch16_224"), CLASSES, 32)
    assert network(images(32, 32).float()).shape == (2, CLASSES)
    assert network.get_parameter("pos_embed").shape == (1, 1 + 4, 192)


def test_a_name_that_timm_does_not_know_gets_a_sentence(timm: ModuleType) -> None:
    with pytest.raises(StudyError, match=r"timm \S+ has no model named 'resnet19': see timm.list_models\(\)"):
        build(TimmVariant(model="resnet19"), CLASSES, 32)


def test_a_side_that_timm_cannot_build_for_gets_a_sentence(timm: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, **options: int) -> None:
        raise AssertionError(f"height ({options['img_size']}) must be divisible by window (7)")

    monkeypatch.setattr(timm, "create_model", create_model)
    sentence = r"timm cannot build resnet18 for images of side 36: height \(36\) must be .*; try another --image-size"
    with pytest.raises(StudyError, match=sentence):
        build(TimmVariant(model="resnet18"), CLASSES, 36)


def test_a_missing_extra_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # which makes `import timm` an ImportError
    for call in (
        lambda: build(TimmVariant(model="resnet18"), CLASSES, 32),
        lambda: timm_coatnet(coatnet("C-C-T-T"), CLASSES, 64),
        import_timm,
    ):
        with pytest.raises(StudyError, match=r"need the extra timm: pip install .*\[timm\]'"):
            call()


def test_timm_is_imported_where_torchvision_was_compiled_for_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def fail_once(name: str) -> str:
        calls.append(name)
        if len(calls) == 1:
            raise RuntimeError("operator torchvision::nms does not exist")
        return f"the module {name}"

    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])  # put back after the test
    monkeypatch.setattr("study.models.timm_networks.importlib.import_module", fail_once)
    assert import_timm() == "the module timm"
    assert calls == ["timm", "timm"]
    assert hasattr(torch.ops.torchvision, "nms")


def test_another_error_of_the_import_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr("study.models.timm_networks.importlib.import_module", fail)
    with pytest.raises(RuntimeError, match="something else"):
        import_timm()


# ---------------------------------------------------------------- files


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("variant", [SMALL_COAT, coatnet("C-C-T-T", dense_head=True)], ids=["coat", "coatnet"])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_weights_survive_a_file(tmp_path: Path, variant: CoaTVariant | CoAtNetVariant, ending: str) -> None:
    written, read = build(variant, CLASSES, 64, seed=1), build(variant, CLASSES, 64, seed=2)
    path = tmp_path / f"weights.{ending}"
    if ending == "pt":
        torch.save({"model": written.state_dict(), "epoch": 3}, path)
    else:
        save_file(written.state_dict(), path)
    assert not same_weights(written, read)
    load_weights(read, path)
    assert same_weights(written, read)


def test_timms_weights_load_from_safetensors(timm: ModuleType, tmp_path: Path) -> None:
    theirs = randomise(timm.create_model("coat_lite_tiny", num_classes=CLASSES, img_size=32), seed=0).float().eval()
    save_file({name: value.clone() for name, value in theirs.state_dict().items()}, tmp_path / "timm.safetensors")
    ours = build(COAT["coat_lite_tiny"].variant, CLASSES, 32).eval()
    load_weights(ours, tmp_path / "timm.safetensors")
    x_BCHW = images(32, 32).float()
    torch.testing.assert_close(ours(x_BCHW), theirs(x_BCHW), rtol=1e-4, atol=1e-5)


def test_an_official_coat_checkpoint_loads_with_its_unread_norm_and_its_options(
    timm: ModuleType, tmp_path: Path
) -> None:
    weights = timm.create_model("coat_tiny", num_classes=CLASSES, img_size=64).state_dict()
    weights |= {"norm1.weight": torch.full((152,), 2.0), "norm1.bias": torch.full((152,), 3.0)}
    torch.save({"model": weights, "args": argparse.Namespace(lr=1e-3)}, tmp_path / "official.pth")
    ours = build(COAT["coat_tiny"].variant, CLASSES, 64)
    load_weights(ours, tmp_path / "official.pth")
    assert isinstance(ours, CoaT)
    assert ours.norms[0].weight.mean() == 2
    assert ours.norms[0].bias.mean() == 3


def test_another_number_of_classes_needs_a_new_classifier(tmp_path: Path) -> None:
    save_file(build(SMALL_COAT, 10, 32, seed=1).state_dict(), tmp_path / "ten.safetensors")
    network = build(SMALL_COAT, CLASSES, 32, seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(StudyError, match=r"classifier.weight is \(10, 24\) there and \(7, 24\) here.*new_classifier"):
        load_weights(network, tmp_path / "ten.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    load_weights(network, tmp_path / "ten.safetensors", new_classifier=True)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert "scales.0.embed.weight" in changed
    assert not changed & {"classifier.weight", "classifier.bias"}


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    save_file(build(coatnet("C-C-C-T"), CLASSES, 64).state_dict(), tmp_path / "coatnet.safetensors")
    with pytest.raises(StudyError, match=r"do not fit this CoaT: it lacks classifier.bias, .* and it has head"):
        load_weights(build(SMALL_COAT, CLASSES, 32), tmp_path / "coatnet.safetensors")


def test_bias_tables_of_another_side_are_refused(tmp_path: Path) -> None:
    save_file(build(coatnet("C-C-C-T"), CLASSES, 96).state_dict(), tmp_path / "larger.safetensors")
    with pytest.raises(StudyError, match=r"bias_table is \(6, 5, 5\) there and \(6, 3, 3\) here.*image side"):
        load_weights(build(coatnet("C-C-C-T"), CLASSES, 64), tmp_path / "larger.safetensors")


def test_timms_own_coatnet_variants_are_refused(timm: ModuleType, tmp_path: Path) -> None:
    theirs = timm.create_model("coatnet_nano_rw_224", num_classes=CLASSES, img_size=64)
    save_file(theirs.state_dict(), tmp_path / "rw.safetensors")
    with pytest.raises(StudyError, match="do not fit this CoAtNet"):
        load_weights(build(coatnet("C-C-T-T"), CLASSES, 64), tmp_path / "rw.safetensors")


def test_copies_of_a_shared_module_must_agree(timm: ModuleType) -> None:
    network = build(COAT["coat_lite_tiny"].variant, CLASSES, 32)
    assert isinstance(network, CoaT)
    weights = timm.create_model("coat_lite_tiny", num_classes=CLASSES, img_size=32).state_dict()
    weights["serial_blocks2.1.cpe.proj.bias"] = weights["serial_blocks2.1.cpe.proj.bias"] + 1
    with pytest.raises(StudyError, match=r"two different versions of scales.1.position.conv.bias"):
        from_timm(weights, network)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code in the checkpoint was run",)


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(StudyError, match="not a checkpoint of tensors that can be read safely"):
        read_weights(tmp_path / "evil.pt")
    assert "was run" not in capsys.readouterr().out


def test_files_that_hold_no_weights_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there is no file of weights at"):
        read_weights(tmp_path / "absent.pt")
    for name in ("noise.pt", "noise.safetensors"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(StudyError, match="can be read"):
            read_weights(tmp_path / name)
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(StudyError, match="holds no named tensors"):
        read_weights(tmp_path / "empty.pt")
