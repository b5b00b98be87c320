"""Attention's scope: global attention after down-sampling (A), local attention (B) or linear attention (C)?

Claim     A > B in capacity; A > C in accuracy (CoAtNet, arXiv 2106.04803, section 2.2)
Paper     in words only: the authors take A; B came out slow on TPU and, by its local field, short of capacity; C was
          tried and gave no reasonably good result
Here      any data set, by default the embedded fractals; the fine geometry, in which S3 attends over 8x8 positions and
          S4 over 4x4. B sees a window of 3x3 (computed under a mask: it shows what locality does to learning, not to
          speed). C is factorized attention as in CoaT (arXiv 2104.06399), which scores no pair of positions and so has
          no relative bias; A without the bias stands beside it, so that the two effects can be told apart
Readout   for B train loss after equal samples, that is capacity, with ε 0.02 nats, about what seeds differ by; for C
          final test accuracy, with ε one point: "no reasonably good result" speaks of more than fractions of a point
Duration  12 epochs of 3,000 images, 552 steps: what takes minutes on two cores, not chosen by a rule
Caveat    one learning rate for all, not tuned; local attention is computed under a mask, so that its speed says nothing
Cost      12 runs; 12 minutes on 2 CPU cores in bf16 (results/attention_scope-fractals-bf16)
Result    A > B contradicted, local attention fits better by 0.20 nats (0.10 to 0.29); A > C undecided, −0.5 points
          (−5.7 to +4.7), three seeds (results/attention_scope-fractals-bf16)
Command   study sweep experiments/attention_scope.py
"""

from study import Claim, Data, Experiment, Fractals, Training

SOURCE = "CoAtNet (arXiv 2106.04803), section 2.2"
LOCAL = "C-C-T-T[attention=local,window=3]"
LINEAR = "C-C-T-T[attention=linear,relative_bias=none]"

experiment = Experiment(
    name="attention_scope",
    variants=("C-C-T-T", LOCAL, LINEAR, "C-C-T-T[relative_bias=none]"),
    seeds=(0, 1, 2),
    budget=200_000,
    geometry="fine",
    data=Data(fractals=Fractals(classes=10, train_images=3000, test_images=1000, jitter=0.03)),
    training=Training(epochs=12, batch_size=64, lr=1e-3, probe_size=1000),
    claims=(
        Claim(
            ranking=f"C-C-T-T > {LOCAL}",
            readout="probe_loss_after_samples",
            epsilon=0.02,
            delta=0.1,
            source=SOURCE,
        ),
        Claim(
            ranking=f"C-C-T-T > {LINEAR}",
            readout="final_test_accuracy",
            epsilon=0.01,
            delta=0.03,
            source=SOURCE,
        ),
    ),
)
