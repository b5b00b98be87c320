"""Transfer: pretrained alike, which of C-C-T-T and C-T-T-T does better on other images?

Claim     C-C-T-T > C-T-T-T after fine-tuning (CoAtNet, arXiv 2106.04803, section 2.2 and Table 2), where pretraining
          leaves the two equal: C-C-T-T ≈ C-T-T-T
Paper     JFT precision@1 34.40 and 34.36; fine-tuned on ImageNet-1K for 30 epochs 82.39 and 81.78 at 224 pixels,
          84.23 and 84.02 at 384. How many runs and which recipe is not stated
Here      two sweeps. `experiment` pretrains on 12 classes of fractals; `transfer` fine-tunes every network on 800
          images of 8 others, at the side of pretraining or at another, and trains the same networks from scratch under
          the same recipe, as the control. `linear_probe` trains the classifier alone: BatchNorm keeps its statistics,
          nothing is dropped, and the control is a classifier on random features
Recipe    Table 10's columns of fine-tuning: constant rate, no warm-up, weight decay 1e-8, clipping at 1. Their rate of
          5e-5 is a tenth of CoAtNet-4's and -5's in pretraining, and so is ours: 1e-4 after 1e-3. A classifier alone
          takes the rate of pretraining. Table 10's augmentation, label smoothing, stochastic depth and averaging of
          weights are off, as in pretraining
Readout   final test accuracy, as in Table 2. Margins: the paper's differences are 0.61 and 0.21 points, so ε is half a
          point; Δ plays no part in these claims
Duration  12 epochs of 3,600 images, then 30 of 800: what takes minutes on two cores, not chosen by a rule
Caveat    pretraining and transfer on few classes of drawn images: far fewer and closer to each other than the paper's
Cost      with five seeds 10, 40 and 20 runs; 5, 23 and 6 minutes on 2 CPU cores in bf16
          (results/transfer-pretraining-fractals-0-12-bf16)
Result    undecided at 32 and 48 pixels and with the linear probe, five seeds; its premise is missing, since
          pretraining leaves C-T-T-T 3.8 points ahead (results/transfer-pretraining-fractals-0-12-bf16)
Command   study sweep experiments/transfer.py
          study transfer results/transfer-pretraining-fractals-0-12 --image-size 32 --image-size 48
          study transfer results/transfer-pretraining-fractals-0-12 --freeze
          study sweep experiments/transfer.py --dataset 'cifar100[0:80]'
          study transfer results/transfer-pretraining-cifar100-0-80 --dataset 'cifar100[80:100]' --image-size 32
"""

from study import Claim, Data, Experiment, Fractals, Training

FRACTALS = Fractals(classes=20, train_images=6000, test_images=4000, jitter=0.03)
SOURCE = "CoAtNet (arXiv 2106.04803), section 2.2 and Table 2"
MARGINS = {"epsilon": 0.005, "delta": 0.02}

experiment = Experiment(
    name="transfer-pretraining",
    data=Data(name="fractals[0:12]", fractals=FRACTALS),
    training=Training(epochs=12, batch_size=64, lr=1e-3, probe_size=1000),
    variants=("C-C-T-T", "C-T-T-T"),
    seeds=(0, 1, 2),
    budget=300_000,
    geometry="cheap",
    claims=(Claim(ranking="C-C-T-T ≈ C-T-T-T", readout="final_test_accuracy", source=SOURCE, **MARGINS),),
)

# Variants, seeds and sizes of the two below are those of the pretraining; study transfer fills them in.
transfer = Experiment(
    name="transfer",
    data=Data(name="fractals[12:20]", fractals=FRACTALS, train_size=800),
    training=Training(epochs=30, batch_size=64, lr=1e-4, decay="constant", warmup=0.0, weight_decay=1e-8),
    claims=(Claim(ranking="C-C-T-T > C-T-T-T", readout="final_test_accuracy", source=SOURCE, **MARGINS),),
)

linear_probe = transfer.model_copy(
    update={"name": "linear-probe", "training": transfer.training.model_copy(update={"lr": 1e-3, "freeze": True})}
)
