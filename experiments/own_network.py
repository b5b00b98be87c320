"""A network of one's own beside C-C-T-T: a plain residual network of the same size.

Claim     C-C-T-T > PlainResNet in accuracy, at equal size and without augmentation
Paper     none; CoAtNet (arXiv 2106.04803), Table 4, has CoAtNets above ResNets only when trained with augmentation
Here      the embedded fractals; `PlainResNet` is defined in this file, which shows all that a network needs to
          take part. Its width is left free and found by size matching, as depths and widths of C-C-T-T are
Readout   accuracy at matched train loss; ε one point, Δ three
Caveat    one learning rate for both, not tuned; equal in parameters, not in multiply-adds or seconds
Cost      6 runs
Command   study sweep experiments/own_network.py
"""

from torch import Tensor, nn
from torch.nn import functional as F

from study import Claim, Data, Experiment, Fractals, Training

OWN = "own_network.py:PlainResNet[width=?]"  # beside this file, or from the current folder on


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., arXiv 1512.03385): (B, C, H, W) -> (B, width, H, W) / stride."""

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = nn.Identity() if (width_in, stride) == (width, 1) else nn.Conv2d(width_in, width, 1, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.body(x_BCHW) + self.shortcut(x_BCHW))


class PlainResNet(nn.Module):
    """Images (B, 3, S, S) -> logits (B, classes): three stages of `depth` blocks, of `width`, 2 and 4 times that."""

    def __init__(self, classes: int, image_size: int, width: int = 32, depth: int = 2):
        super().__init__()
        if image_size % 4:
            raise ValueError(f"images of side {image_size} cannot be halved twice")
        self.stem = nn.Conv2d(3, width, 3, 1, 1)
        blocks, width_in = [], width
        for stage in range(3):
            for block in range(depth):
                wide = width * 2**stage
                blocks.append(Residual(width_in, wide, 2 if stage and not block else 1))
                width_in = wide
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width_in, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x_BCHW)).mean((2, 3)))


experiment = Experiment(
    name="own_network",
    variants=("C-C-T-T", OWN),
    seeds=(0, 1, 2),
    budget=197_000,
    data=Data(fractals=Fractals(classes=10, train_images=3000, test_images=1000, jitter=0.03)),
    training=Training(epochs=12, batch_size=64, lr=1e-3, probe_size=1000),
    claims=(
        Claim(
            ranking=f"C-C-T-T > {OWN}",
            readout="accuracy_at_matched_loss",
            epsilon=0.01,
            delta=0.03,
            source="no paper: an example",
        ),
    ),
)
