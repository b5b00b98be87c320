"""Capacity: with more data than training can repeat, which stacking fits best?

Claim     C-C-T-T ≈ C-T-T-T > ViT_REL > C-C-C-T > C-C-C-C (CoAtNet, arXiv 2106.04803, section 2.2 and Fig. 1b), in train
          loss and in test accuracy at the end
Paper     JFT, over 300M images, 3 epochs; precision@1 of 34.40 % (C-C-T-T) and 34.36 % (C-T-T-T) at the end (Table 2)
Here      a stream of fractals of 100 classes that never repeats an image, 192,000 images at 32 pixels; the same ones in
          the same order for all variants of a seed. Train loss is that of the first 2,000 images of the seed's stream,
          seen once, measured in eval mode like the test images. Or any large data set for 1 to 3 epochs
Difficulty  far from solved at the end, as JFT was; chosen on seed 100 and C-T-C-T (500,000 parameters), neither of
          which a claim is tested on. Test accuracy after 64,000 and after 128,000 images: 10.4 % and 20.9 % with 100
          classes and jitter 0.05 (train loss 3.59 and 3.05 nats, ln 100 = 4.61), chosen here and trained half as long
          again; 13.1 % after 64,000 with 50 classes and jitter 0.1; 1.2 % after 35,000 with 200 classes and jitter 0.2
Readout   train loss and test accuracy after equal samples, at the end; ε 0.03 nats and one point, Δ 0.1 nats and
          three points
Caveat    one learning rate for all, not tuned; a stream of 192,000 drawn images is small beside JFT's 300M photographs
Cost      15 runs; 38 minutes on 2 CPU cores in bf16. Making the images takes 3 to 8 % of a step (study bench)
Result    contradicted in train loss by eight of ten relations: the more convolution, the lower it is, three seeds
          (results/capacity-fractals-bf16)
Command   study sweep experiments/capacity.py
          study sweep experiments/capacity.py --dataset folder:~/large --epochs 3
"""

from study import STUDY_VARIANTS, Claim, Data, Experiment, Fractals, Training

RANKING = "C-C-T-T ≈ C-T-T-T > ViT_REL > C-C-C-T > C-C-C-C"
SOURCE = "CoAtNet (arXiv 2106.04803), section 2.2"

experiment = Experiment(
    name="capacity",
    data=Data(fractals=Fractals(classes=100, jitter=0.05, stream=True)),
    variants=STUDY_VARIANTS,
    seeds=(0, 1, 2),
    budget=500_000,
    geometry="cheap",
    training=Training(samples=192_000, batch_size=128, lr=1e-3),
    claims=(
        Claim(ranking=RANKING, readout="probe_loss_after_samples", epsilon=0.03, delta=0.1, source=SOURCE),
        Claim(ranking=RANKING, readout="test_accuracy_after_samples", epsilon=0.01, delta=0.03, source=SOURCE),
    ),
)
