"""Head size and norm: heads of 32 or 64, BatchNorm or LayerNorm in MBConv?

Claim     heads of 32 > heads of 64; BatchNorm ≈ LayerNorm (CoAtNet, arXiv 2106.04803, section 4.3 and Table 8)
Paper     CoAtNet-2 on ImageNet-1K at 224 pixels: 84.1 with heads of 32 and BatchNorm, 83.9 with heads of 64, 84.1 with
          LayerNorm, which was 10 to 20 % slower on TPU. CoAtNet-3, ImageNet-21K then 1K at 384: 87.9, LayerNorm 87.8
Here      any data set, by default the embedded fractals. The paper's S3 is 512 wide, with 16 heads of 32 or 8 of 64;
          ours is 72 wide at the default budget, with two heads of 32 or one of 64 (the width of all heads together is
          the multiple of the head size nearest to the layer's). The three networks have the same depths and widths
Readout   final test accuracy, as in Table 8. Margins: ε half a point, more than twice the paper's 0.2 between head
          sizes; Δ plays no part in these claims
Duration  12 epochs of 3,000 images, 552 steps: what takes minutes on two cores, not chosen by a rule
Caveat    one learning rate for all, not tuned; few steps, at which BatchNorm's running statistics lag
Cost      9 runs; 4 minutes on 2 CPU cores in bf16 (results/head_size_and_norm-fractals-bf16)
Result    BatchNorm ≈ LayerNorm contradicted, LayerNorm is 5.2 points better (1.0 to 9.4); heads of 32 over 64
          undecided, +1.2 points, three seeds (results/head_size_and_norm-fractals-bf16)
Command   study sweep experiments/head_size_and_norm.py
"""

from study import Claim, Data, Experiment, Fractals, Training

SETTINGS = {
    "readout": "final_test_accuracy",
    "epsilon": 0.005,
    "delta": 0.02,
    "source": "CoAtNet (arXiv 2106.04803), section 4.3 and Table 8",
}

experiment = Experiment(
    name="head_size_and_norm",
    variants=("C-C-T-T", "C-C-T-T[head_dim=64]", "C-C-T-T[conv_norm=layer]"),
    seeds=(0, 1, 2),
    budget=300_000,
    geometry="cheap",
    data=Data(fractals=Fractals(classes=10, train_images=3000, test_images=1000, jitter=0.03)),
    training=Training(epochs=12, batch_size=64, lr=1e-3, probe_size=1000),
    claims=(
        Claim(ranking="C-C-T-T > C-C-T-T[head_dim=64]", **SETTINGS),
        Claim(ranking="C-C-T-T ≈ C-C-T-T[conv_norm=layer]", **SETTINGS),
    ),
)
