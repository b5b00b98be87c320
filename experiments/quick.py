"""Quick: the generalization study in a few minutes, on the embedded data set; it shows the machinery.

Claim     C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL (CoAtNet, arXiv 2106.04803, section 2.2 and Fig. 1a)
Paper     ImageNet-1K, 300 epochs, no augmentation, no regularization; sizes and learning rates not stated
Here      fractals of 10 classes, 3,000 training images, 32 pixels; small enough for two cores, so that a first run ends
          within minutes: stages at 16, 16, 8, 4, 2, where ViT_REL sees 16 positions, 12 short passes, one untuned rate
Command   study sweep
"""

from study import STUDY_VARIANTS, Claim, Data, Experiment, Fractals, Training

experiment = Experiment(
    name="quick",
    variants=STUDY_VARIANTS,
    seeds=(0, 1, 2),
    budget=300_000,
    geometry="cheap",
    data=Data(fractals=Fractals(classes=10, train_images=3000, test_images=1000, jitter=0.03)),
    training=Training(epochs=12, batch_size=64, lr=1e-3, probe_size=1000),
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
