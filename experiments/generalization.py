"""Generalization: which stacking has the highest test accuracy at equal training loss?

Claim     C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL (CoAtNet, arXiv 2106.04803, section 2.2 and Fig. 1a)
Paper     ImageNet-1K, 300 epochs, no augmentation, no regularization; sizes and learning rates not stated
Here      any data set, by default the embedded fractals: 20 classes, 4,000 training images, 32 pixels
Command   study sweep
          study sweep --dataset cifar100
"""

from study import STUDY_VARIANTS, Claim, Experiment, Training

experiment = Experiment(
    name="generalization",
    variants=STUDY_VARIANTS,
    seeds=(0, 1, 2),
    budget=300_000,
    geometry="cheap",
    training=Training(epochs=20, batch_size=128, lr=1e-3),
    claims=(
        Claim(
            ranking="C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL",
            readout="accuracy_at_matched_loss",
            epsilon=0.01,
            delta=0.03,
            source="CoAtNet (arXiv 2106.04803), section 2.2",
        ),
    ),
)
