"""Stride location: does a strided MBConv block stride in its first 1x1 convolution or in the depthwise one?

Claim     depthwise > first 1x1 in small networks (CoAtNet, arXiv 2106.04803, appendix A.2 and Table 9)
Paper     ImageNet-1K at 224 pixels, first 1x1 (Eq. 5) against depthwise: CoAtNet-0 4.2B multiply-adds and 81.6 against
          4.6B and 82.0; CoAtNet-1 8.4B and 83.3 against 8.8B and 83.5; CoAtNet-2 15.7B and 84.1 against 16.6B and 84.1
Here      any data set, by default the embedded fractals. Parameters are the same, and so both networks have the same
          depths and widths; the depthwise form costs more multiply-adds, as in the paper
Readout   final test accuracy, as in Table 9. Margins: the paper's gains are 0.4, 0.2 and 0 points, so ε is half a point
Duration  12 epochs of 3,000 images, 552 steps: what takes minutes on two cores, not chosen by a rule
Caveat    one learning rate for both, not tuned; short training on drawn images
Cost      6 runs; 4 minutes on 2 CPU cores in bf16 (results/stride_location-fractals-bf16)
Result    undecided, three seeds, all of the paper's sign (results/stride_location-fractals-bf16)
Command   study sweep experiments/stride_location.py
"""

from study import Claim, Data, Experiment, Fractals, Training

experiment = Experiment(
    name="stride_location",
    variants=("C-C-T-T", "C-C-T-T[stride_in=depthwise]"),
    seeds=(0, 1, 2),
    budget=300_000,
    geometry="cheap",
    data=Data(fractals=Fractals(classes=10, train_images=3000, test_images=1000, jitter=0.03)),
    training=Training(epochs=12, batch_size=64, lr=1e-3, probe_size=1000),
    claims=(
        Claim(
            ranking="C-C-T-T[stride_in=depthwise] > C-C-T-T",
            readout="final_test_accuracy",
            epsilon=0.005,
            delta=0.02,
            source="CoAtNet (arXiv 2106.04803), appendix A.2 and Table 9",
        ),
    ),
)
