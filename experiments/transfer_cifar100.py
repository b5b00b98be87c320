"""Transfer between natural images: pretrained on 80 classes of CIFAR-100, which layout does better on the other 20?

Claim     C-C-T-T > C-T-T-T after fine-tuning (CoAtNet, arXiv 2106.04803, section 2.2 and Table 2), where pretraining
          leaves the two equal: C-C-T-T ≈ C-T-T-T. C-C-C-C runs along as a third, of which nothing is claimed
Paper     JFT precision@1 34.40 and 34.36; fine-tuned on ImageNet-1K for 30 epochs 82.39 and 81.78 at 224 pixels,
          84.23 and 84.02 at 384. How many runs and which recipe is not stated
Here      `experiment` pretrains on all 40,000 images of classes 0 to 79, 149,760 images seen, at the size, depths,
          geometry and initialisation of generalization.py, each layout at the learning rate that was chosen for it
          there. `transfer` fine-tunes every network on 2,000 images, 100 a class, of the other 20 classes at 32 and at
          48 pixels, and trains the same networks from scratch under the same recipe, as the control. `linear_probe`
          trains the classifier alone, with a classifier on random features as its control
Recipe    transfer.py's: Table 10's columns of fine-tuning, without augmentation, one constant rate for all (1e-4; 1e-3
          in the linear probe). At it the control is far from trained: it says what the weights bring under this recipe,
          not what scratch can reach
Readout   final test accuracy, as in Table 2. Margins: the paper's differences are 0.61 and 0.21 points, so ε is half a
          point; Δ plays no part in these claims
Caveat    pretraining does not leave C-C-T-T and C-T-T-T equal, as the paper's does: what transfers is a lead, too; half
          a point is far below what five seeds resolve, and 1,170 steps of pretraining are few
Duration  half of generalization.py's steps, and 12 epochs of fine-tuning: what two cores do in an afternoon, by no rule
Cost      15 runs of pretraining, 60 of fine-tuning and its control, 30 of the linear probe: 2.7, 3.1 and 0.3 hours of
          training in all on an Intel Xeon with AVX-512, two runs at a time, fp32, other work beside it
Result    C-C-T-T > C-T-T-T is confirmed at 32 and at 48 pixels (+7.7 points at both) and with the linear probe (+5.4),
          but pretraining does not leave the two equal (+4.7), and from scratch C-C-T-T leads by as much
          (results/transfer_cifar100-pretraining-cifar100-0-80)
Command   study sweep experiments/transfer_cifar100.py
          study transfer results/transfer_cifar100-pretraining-cifar100-0-80 \\
              --experiment experiments/transfer_cifar100.py --image-size 32 --image-size 48
          study transfer results/transfer_cifar100-pretraining-cifar100-0-80 \\
              --experiment experiments/transfer_cifar100.py --freeze
"""

from study import Blocks, Claim, Data, Experiment, Training

SOURCE = "CoAtNet (arXiv 2106.04803), section 2.2 and Table 2"
MARGINS = {"epsilon": 0.005, "delta": 0.02, "source": SOURCE}

experiment = Experiment(
    name="transfer_cifar100-pretraining",
    data=Data(name="cifar100[0:80]"),
    variants=("C-C-T-T", "C-T-T-T", "C-C-C-C"),
    seeds=(0, 1, 2, 3, 4),
    budget=300_000,
    geometry="fine",
    blocks=Blocks(initialisation="fan_in"),
    with_shared_rate=False,
    rates={"C-C-T-T": 1e-3, "C-T-T-T": 3e-3, "C-C-C-C": 9e-3},
    training=Training(samples=149_760, batch_size=128, lr=1e-3, evaluations=5, probe_size=2000),
    claims=(Claim(ranking="C-C-T-T ≈ C-T-T-T", readout="final_test_accuracy", **MARGINS),),
)

# Variants, seeds and sizes of the two below are those of the pretraining; study transfer fills them in.
transfer = Experiment(
    name="transfer_cifar100",
    data=Data(name="cifar100[80:100]", train_size=2000),
    training=Training(
        epochs=12,
        batch_size=32,
        lr=1e-4,
        decay="constant",
        warmup=0.0,
        weight_decay=1e-8,
        evaluations=3,
        probe_size=500,
    ),
    claims=(Claim(ranking="C-C-T-T > C-T-T-T", readout="final_test_accuracy", **MARGINS),),
)

linear_probe = transfer.model_copy(
    update={
        "name": "linear-probe_cifar100",
        "training": transfer.training.model_copy(update={"lr": 1e-3, "freeze": True}),
    }
)
