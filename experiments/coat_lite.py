"""CoaT-Lite beside CoAtNet at equal size: linear attention with convolution inside against convolution, then attention.

Claim     none: neither paper ranks the two (CoAtNet, arXiv 2106.04803; CoaT, arXiv 2104.06399)
Paper     ImageNet-1K at 224 pixels, with augmentation: CoAtNet-0 25M parameters, 4.2B multiply-adds, 81.6; CoaT-Lite
          Small 20M, 4.0B, 81.9. Recipes differ, so that the two numbers are no comparison
Here      any data set, by default the embedded fractals; one budget and one recipe. With patches of 2, CoaT-Lite's four
          scales have the sides of S1-S4 in the cheap geometry: 16, 8, 4, 2 at 32 pixels
Readout   final test accuracy, and accuracy per multiply-add: equal size is not equal cost
Duration  12 epochs of 3,000 images, 552 steps: what takes minutes on two cores, not chosen by a rule
Caveat    equal in parameters, not in multiply-adds or seconds; the two were published under unlike recipes
Cost      6 runs, 9 where rates are tuned; 6 minutes on 2 CPU cores in bf16 (results/coat_lite-fractals-bf16)
Result    C-C-T-T 36.7 %, CoaT-Lite 27.6 % in the means of three seeds at tuned rates, at half the multiply-adds:
          nothing is claimed (results/coat_lite-fractals-bf16)
Command   study sweep experiments/coat_lite.py
          study tune experiments/coat_lite.py --tuning-epochs 6     (before it, for tuned rates)
          study rank results/coat_lite-fractals --readout final_test_accuracy --readout accuracy_per_gmac
"""

from study import Data, Experiment, Fractals, Training

experiment = Experiment(
    name="coat_lite",
    variants=("C-C-T-T", "coat_lite[patch=2]"),
    seeds=(0, 1, 2),
    budget=300_000,
    geometry="cheap",
    data=Data(fractals=Fractals(classes=10, train_images=3000, test_images=1000, jitter=0.03)),
    training=Training(epochs=12, batch_size=64, lr=1e-3, probe_size=1000),
)
