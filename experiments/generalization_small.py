"""Generalization, within an hour: which stacking has the highest test accuracy at equal training loss, of 20 classes?

Claim     C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL (CoAtNet, arXiv 2106.04803, section 2.2 and Fig. 1a)
Command   study sweep experiments/generalization_small.py
"""

from study import STUDY_VARIANTS, Blocks, Claim, Data, Experiment, Training

SOURCE = "CoAtNet (arXiv 2106.04803), section 2.2"
MARGINS = {"epsilon": 0.01, "delta": 0.03, "source": SOURCE}

experiment = Experiment(
    name="generalization_small",
    data=Data(name="cifar100[0:20]", train_size=2000),
    variants=STUDY_VARIANTS,
    seeds=(0, 1, 2, 3, 4),
    budget=300_000,
    geometry="fine",
    blocks=Blocks(initialisation="fan_in"),
    training=Training(epochs=20, batch_size=32, lr=1e-3, evaluations=10, probe_size=500),
    claims=(
        Claim(ranking="C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL", readout="accuracy_at_matched_loss", **MARGINS),
        Claim(ranking="C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL", readout="final_test_accuracy", **MARGINS),
    ),
)
