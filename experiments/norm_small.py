"""Norm in MBConv on real images: is LayerNorm's lead of five points on fractals real, or BatchNorm's statistics?

Claim     BatchNorm ≈ LayerNorm (CoAtNet, arXiv 2106.04803, section 4.3 and Table 8)
Paper     ImageNet-1K at 224 pixels, 300 epochs: 84.1 both
Here      the terms of generalization_small.py: the first 20 classes of CIFAR-100, 100 images of each, 12 passes,
          300,000 parameters at the fine geometry. On 3,000 fractals LayerNorm was 5.2 points better
          (results/head_size_and_norm-fractals-bf16), against the claim
Reading   to be tested: if that was a matter of BatchNorm's running statistics, which evaluation uses and which lag
          behind the weights, then they follow three times as fast with a momentum of 0.3, which should win part of it;
          and BatchNorm's train loss in eval mode (the probe's) should lie above that of its batches, LayerNorm's not
Readouts  final test accuracy, and mean test accuracy over the matched losses; ε is one point, Δ three
Caveat    one learning rate for all, not tuned; 744 steps
Cost      15 runs of 24,000 images, five of which (C-C-T-T) are those of generalization_small: half an hour on 2 cores
Result    contradicted at the end, the other way round: BatchNorm +2.8 points (1.5 to 4.2); a momentum of 0.3 changes
          nothing after the first hundred steps (results/norm_small-cifar100-0-20)
Command   study sweep experiments/norm_small.py
"""

from study import Blocks, Claim, Data, Experiment, Training

SOURCE = "CoAtNet (arXiv 2106.04803), section 4.3 and Table 8"

experiment = Experiment(
    name="norm_small",
    data=Data(name="cifar100[0:20]", train_size=2000),
    variants=("C-C-T-T", "C-C-T-T[conv_norm=layer]", "C-C-T-T[batch_norm_momentum=0.3]"),
    seeds=(0, 1, 2, 3, 4),
    budget=300_000,
    geometry="fine",
    blocks=Blocks(initialisation="fan_in"),
    training=Training(epochs=12, batch_size=32, lr=1e-3, evaluations=8, probe_size=500),
    claims=tuple(
        Claim(ranking="C-C-T-T ≈ C-C-T-T[conv_norm=layer]", readout=readout, epsilon=0.01, delta=0.03, source=SOURCE)
        for readout in ("final_test_accuracy", "accuracy_at_matched_loss")
    ),
)
