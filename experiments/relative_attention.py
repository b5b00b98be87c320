"""Relative attention: what is the learned bias of relative positions worth, and does it belong before the softmax?

Claim     C-C-T-T > C-C-T-T without the bias (CoAtNet, arXiv 2106.04803, section 4.3 and Table 6)
Paper     with and without, ImageNet-1K: 84.1 and 83.8 at 224 pixels, 85.7 and 85.3 at 384; ImageNet-21K: 53.0 and 52.8
          in pretraining, 87.9 and 87.4 fine-tuned at 384. The authors read a gain in generalization more than in
          capacity. Eq. 3 has a form after the softmax too (`post`), of which no numbers are given
Here      any data set, by default the embedded fractals; the fine geometry, in which S3 attends over 8x8 positions. At
          the default budget all three have the same depths and widths: the tables are half a percent of the parameters
Readout   final test accuracy, as in Table 6, and accuracy at matched train loss, which is what the authors' reading is
          about. Margins: the paper's differences are 0.2 to 0.5 points, so ε is half a point
Duration  12 epochs of 3,000 images, 552 steps: what takes minutes on two cores, not chosen by a rule
Caveat    one learning rate for all, not tuned; short training on drawn images
Cost      9 runs; 10 minutes on 2 CPU cores in bf16 (results/relative_attention-fractals-bf16)
Result    undecided, +0.7 points (−5.7 to +7.1), three seeds; after the softmax +19 points, an exploration
          (results/relative_attention-fractals-bf16)
Command   study sweep experiments/relative_attention.py
"""

from study import Claim, Data, Experiment, Fractals, Training

SOURCE = "CoAtNet (arXiv 2106.04803), section 4.3 and Table 6"
RANKING = "C-C-T-T > C-C-T-T[relative_bias=none]"

experiment = Experiment(
    name="relative_attention",
    variants=("C-C-T-T", "C-C-T-T[relative_bias=post]", "C-C-T-T[relative_bias=none]"),
    seeds=(0, 1, 2),
    budget=200_000,
    geometry="fine",
    data=Data(fractals=Fractals(classes=10, train_images=3000, test_images=1000, jitter=0.03)),
    training=Training(epochs=12, batch_size=64, lr=1e-3, probe_size=1000),
    claims=tuple(
        Claim(ranking=RANKING, readout=readout, epsilon=0.005, delta=0.02, source=SOURCE)
        for readout in ("final_test_accuracy", "accuracy_at_matched_loss")
    ),
)
