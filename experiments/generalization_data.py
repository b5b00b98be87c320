"""Generalization as data grow: does the ranking turn over between 2,000 and 50,000 real images, at equal images seen?

Claim     C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL (CoAtNet, arXiv 2106.04803, section 2.2 and Fig. 1a), tested
          at every number of images: what holds for little data and what no longer holds for all of it
Paper     its two rankings are of 1.3 and of 300 million images, each trained in its own way; nothing lies between
Here      CIFAR-100: 2,000, 10,000 and all 50,000 training images, the smaller sets within the larger, every run 299,520
          images seen (2,340 steps: 156, 30 and 6 passes). All else is generalization.py, whose runs are those at 10,000
          here: sizes differ in repetition alone
Terms     as there; each layout at the learning rate that was chosen for it at 10,000 images, for every number of images
Readouts  as there: accuracy over the matched losses, those of the probe of 2,000 training images; the final one
Duration  that of generalization.py in images seen, which is the question; with all images no layout ends at a train
          loss of 0.5 or less: 0.97 to 2.47
Caveat    with 50,000 images seen six times the train loss stays high: what is compared there is early training
Cost      75 runs of 300,000 images: some 20 hours on 2 cores without AVX-512 in fp32. Those at 10,000 images are
          generalization.py's, of the same ids, taken over by
          study merge results/generalization_data-cifar100/10000-images results/generalization-cifar100
          The 25 with all images took 8.6 hours of training in all on an Intel Xeon with AVX-512, other work beside it
Result    (10,000 and 50,000 images; those with 2,000 are not made) In final accuracy the order of the means is the
          published one with all images, with 10,000 but for C-C-T-T and C-T-T-T, whose order is shown at neither;
          C-C-C-C leads C-C-C-T at both, by 8.5 and 3.9 points, where "≈" is claimed. At matched train loss undecided
          with 10,000, contradicted with 50,000: there, down to 2.47, all lie within 1.2 points
Command   study sweep experiments/generalization_data.py && study scale results/generalization_data-cifar100
          study sweep experiments/generalization_data.py -o parts=[0.2,1.0]     (10,000 and all 50,000)
"""

from study import STUDY_VARIANTS, Blocks, Claim, Data, Experiment, Training

SOURCE = "CoAtNet (arXiv 2106.04803), section 2.2"
MARGINS = {"epsilon": 0.01, "delta": 0.03, "source": SOURCE}

experiment = Experiment(
    name="generalization_data",
    data=Data(name="cifar100"),
    parts=(0.04, 0.2, 1.0),
    variants=STUDY_VARIANTS,
    seeds=(0, 1, 2, 3, 4),
    budget=300_000,
    geometry="fine",
    blocks=Blocks(initialisation="fan_in"),
    with_shared_rate=False,
    rates={"ViT_REL": 3e-3, "C-C-C-C": 9e-3, "C-C-C-T": 3e-3, "C-C-T-T": 1e-3, "C-T-T-T": 3e-3},
    training=Training(samples=299_520, batch_size=128, lr=1e-3, evaluations=14, probe_size=2000),
    claims=(
        Claim(ranking="C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL", readout="accuracy_at_matched_loss", **MARGINS),
        Claim(ranking="C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL", readout="final_test_accuracy", **MARGINS),
    ),
)
