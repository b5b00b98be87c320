"""Marrying convolution and attention for all data sizes: which stacking is best at how many training images?

Claim     the two published rankings, each tested at every size: generalization (ImageNet-1K, 1.3M images) and capacity
          (JFT, 300M images), CoAtNet (arXiv 2106.04803), section 2.2 and Fig. 1
Paper     nothing between these two sizes
Here      1, 2, 5, 10, 20, 50 and 100 % of a data set, by default of 10,000 fractals of 20 classes; the smaller ones lie
          within the larger. Every run sees the same number of images, 24,000, so that all sizes cost the same and
          differ in repetition alone. Beyond 24,000 training images a run would see none twice: what the scaling laws
          say of 1.3M and 300M images supposes that training goes on as long as it must
Caveat    one learning rate for all, not tuned, at every size; small networks on drawn images, not photographs
Cost      105 runs; about 40 minutes on 2 CPU cores in bf16 (70 took 27: results/data_scale-fractals-bf16)
Result    in the means C-T-T-T is first up to 2,000 images, the convolutional layouts with 10,000, two or three seeds;
          nearly all relations are undecided (results/data_scale-fractals-bf16)
Command   study sweep experiments/data_scale.py && study scale results/data_scale-fractals
          study sweep experiments/data_scale.py --dataset cifar100
          study sweep experiments/data_scale.py -o data.fractals.train_images=1000000 \\
              -o parts=[0.001,0.003,0.01,0.03,0.1,0.3,1.0] --samples 1M     (10^3 to 10^6 fractals)
"""

from study import STUDY_VARIANTS, Claim, Data, Experiment, Fractals, Training

SOURCE = "CoAtNet (arXiv 2106.04803), section 2.2"

experiment = Experiment(
    name="data_scale",
    data=Data(fractals=Fractals(classes=20, train_images=10_000)),
    parts=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
    variants=STUDY_VARIANTS,
    seeds=(0, 1, 2),
    budget=300_000,
    geometry="cheap",
    training=Training(samples=24_000, batch_size=64, lr=1e-3),
    claims=(
        Claim(
            ranking="C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL",
            readout="accuracy_at_matched_loss",
            epsilon=0.01,
            delta=0.03,
            source=SOURCE,
        ),
        Claim(
            ranking="C-C-T-T ≈ C-T-T-T > ViT_REL > C-C-C-T > C-C-C-C",
            readout="final_test_accuracy",
            epsilon=0.01,
            delta=0.03,
            source=SOURCE,
        ),
    ),
)
