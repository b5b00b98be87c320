"""Quick: the generalization study in five minutes: which stacking learns most from few images of the embedded data set?

Claim     C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL (CoAtNet, arXiv 2106.04803, section 2.2 and Fig. 1a)
Paper     ImageNet-1K, 300 epochs, no augmentation, no regularization; sizes and learning rates not stated
Here      512 fractals of 10 classes, 32 pixels, 18 passes, 200,000 parameters within 1 %; stages at 16, 16, 8, 4, 2,
          where ViT_REL sees 16 positions; one untuned rate. The convolutional layouts learn the images by heart, in
          four to six passes: at equal train loss layouts differ, and none is near what it could reach with more data
Readout   mean test accuracy over the train losses that all runs pass; ε one point, Δ three
Caveat    512 images, which the convolutional layouts learn by heart, few steps at one untuned rate: an example of a
          decided claim, not of the paper's terms
Chosen    on seeds 100 to 104, with the margins of the other experiments: there 8 of the ten relations were decided when
          read at 6 evaluations of 1,500 test images, 6 when read at 9 of 1,000, and C-T-T-T > C-C-T-T led both times.
          Tried before, on seeds 100 to 102, at 1,000 and 640 images, rates of 1e-3 to 3e-3 and torch's weight of 0.1 in
          BatchNorm's statistics, which lag in 144 steps: fewer images, repeated more often, told layouts apart
Cost      25 runs, 576 core-seconds in all: five minutes on two quiet cores without AVX-512
Result    5 of the ten relations contradicted, 5 undecided; C-T-T-T leads (results/generalization-fractals-quick)
Command   study sweep
"""

from study import STUDY_VARIANTS, Blocks, Claim, Data, Experiment, Fractals, Training

experiment = Experiment(
    name="quick",
    variants=STUDY_VARIANTS,
    seeds=(0, 1, 2, 3, 4),
    budget=200_000,
    geometry="cheap",
    blocks=Blocks(initialisation="fan_in", batch_norm_momentum=0.3),
    data=Data(fractals=Fractals(classes=10, train_images=512, test_images=1500, jitter=0.03)),
    training=Training(epochs=18, batch_size=64, lr=1.5e-3, evaluations=8, probe_size=300),
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
