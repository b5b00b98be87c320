"""Initialisation, a nuisance: which of the field's forms shall all layouts of the generalization study start from?

Claim     none: this chooses a term of other experiments, on seeds and images on which no claim is tested
Paper     silent. MaxViT, by the same group, draws every kernel from a normal of 0.02; timm's CoAtNet convolutions by
          fan-out and dense layers by Xavier; torch's defaults are fan-in throughout
Here      CIFAR-100, 8,000 images to train on and 2,000 to validate on, both out of the training images; 300,000
          parameters at the fine geometry, 5 passes at the shared rate. `xavier` is timm's form with the patch embedding
          by fan-in; the other two have it too
Rule      stated before the runs: one form for all variants, the one with the highest validation accuracy, averaged over
          seeds and over the five layouts with equal weights
Readout   validation accuracy at the end
Duration  5 passes, 310 steps, as in the tuning of rates: what two cores do in hours
Caveat    early training at one learning rate: a form that starts slowly may end well
Cost      30 runs; 264 minutes of training in all, the cores shared
Result    fan_in, by 1.7 points over xavier and 3.7 over normal (results/initialisation-cifar100); C-T-T-T alone prefers
          xavier
Command   study sweep experiments/initialisation.py
"""

from study import STUDY_VARIANTS, Data, Experiment, Training

FORMS = ("xavier", "fan_in", "normal")

experiment = Experiment(
    name="initialisation",
    data=Data(name="cifar100", train_size=10_000, validation=2_000),
    variants=tuple(f"{layout}[initialisation={form}]" for layout in STUDY_VARIANTS for form in FORMS),
    seeds=(1000, 1001),
    budget=300_000,
    geometry="fine",
    training=Training(epochs=5, batch_size=128, lr=1e-3, evaluations=4, probe_size=1000),
)
