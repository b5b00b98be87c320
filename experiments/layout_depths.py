"""Depths of the layout: at a given number of blocks, how many belong into S2 (convolution) and how many into S3?

Claim     V0 ≈ V2 > V1 (CoAtNet, arXiv 2106.04803, section 4.3 and Table 7)
Paper     CoAtNet-2 on ImageNet-1K, blocks of S0-S4: V0 2-2-6-14-2 84.1; V1 2-2-2-18-2 83.4; V2 2-2-8-12-2 84.0.
          CoAtNet-3, ImageNet-21K then 1K: V0 53.0 in pretraining and 87.6 after it, V1 53.0 and 87.4. The authors
          conclude that S3 should have more blocks than S2, up to a point
Here      any data set, by default the embedded fractals; half of the paper's blocks in S1-S4. The widths of each
          are matched to one budget (of 380,000, which all three meet), where the paper keeps them
Readout   final test accuracy, as in Table 7. Margins: V1 is 0.7 points below V0, V2 0.1, so ε is half a point
Duration  12 epochs of 3,000 images, 552 steps: what takes minutes on two cores, not chosen by a rule
Caveat    one learning rate for all, not tuned; few blocks at this size, and widths that differ between the three
Cost      9 runs; 7 minutes on 2 CPU cores in bf16 (results/layout_depths-fractals-bf16)
Result    undecided, three seeds; the means in the paper's order, 33.1, 32.3 and 30.2 %
          (results/layout_depths-fractals-bf16)
Command   study sweep experiments/layout_depths.py
"""

from study import Claim, Data, Experiment, Fractals, Training

V0, V1, V2 = (f"C-C-T-T[depths={depths}]" for depths in ("2-1-3-7-1", "2-1-1-9-1", "2-1-4-6-1"))

experiment = Experiment(
    name="layout_depths",
    variants=(V0, V1, V2),
    seeds=(0, 1, 2),
    budget=380_000,
    geometry="cheap",
    data=Data(fractals=Fractals(classes=10, train_images=3000, test_images=1000, jitter=0.03)),
    training=Training(epochs=12, batch_size=64, lr=1e-3, probe_size=1000),
    claims=(
        Claim(
            ranking=f"{V0} ≈ {V2} > {V1}",
            readout="final_test_accuracy",
            epsilon=0.005,
            delta=0.02,
            source="CoAtNet (arXiv 2106.04803), section 4.3 and Table 7",
        ),
    ),
)
