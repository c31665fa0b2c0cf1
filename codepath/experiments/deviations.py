"""Where the paper is silent or differs from its authors' code, and what this suite does."""

from __future__ import annotations

from typing import NamedTuple

from codepath.experiments.scales import SHORT, WORDS


class Deviation(NamedTuple):
    """One entry of paper/DEVIATIONS.md."""

    topic: str
    paper: str
    """What the paper says."""
    code: str
    """What the authors' code does, where it differs or says more."""
    ours: str
    switch: str
    """What changes our choice: a run's override key or an argument; empty where nothing does."""
    effect: str = ""
    """What is known of the choice's effect without runs that differ in it."""
    experiment: str = ""
    """The experiment whose runs show the effect; empty for any."""
    numbers: str = ""
    """How the published numbers begin that show the effect without runs."""


_PROXY = "a proxy, never compared with the paper's numbers; its figures and tables leave them out"

DEVIATIONS = (
    Deviation(
        "End of the cosine schedule (CIFAR)",
        "1e-4",
        "1e-5",
        "1e-4, the text",
        "train.lr_end",
    ),
    Deviation(
        "Order of CIFAR's augmentations",
        "crop, flip, RandAugment",
        "RandAugment, pad and crop, flip",
        "RandAugment first, as in the code",
        "",
        "not measured; with the crop first, AutoContrast and Equalize see its black border, and "
        "geometric operators move it",
    ),
    Deviation(
        "Interpolation in ImageNet's evaluation",
        "not said",
        "timm's default of the network: bicubic or bilinear",
        "bicubic: the short side to 182 pixels (160 / 0.875), then the central 160, as in timm",
        "",
        "not measured",
    ),
    Deviation(
        "Draws of the paths that are removed (Fig 2a)",
        "random paths; how many draws is not said",
        "not at hand",
        "for every image 2 draws on CIFAR and 1 on ImageNet, 5 on digits; accuracies are means of "
        "them",
        "evaluation.removal_draws",
    ),
    Deviation(
        "Nine negatives for each positive (Fig 2c and 8)",
        "9 to 1, several draws; how many is not said",
        "not at hand",
        "5 draws from a fixed seed, their mean and standard deviation; with up to 10 classes all "
        "negatives",
        "",
        "not measured; the standard deviation over the draws is among the rows of kind binary "
        "(metrics `.._sd`)",
    ),
    Deviation(
        "Padding of CIFAR's crops",
        "pad 4",
        "pad 4 with zeros (black)",
        "zeros",
        "data.pad",
    ),
    Deviation(
        "Label smoothing",
        "none",
        "0.1 is the released ImageNet script's default",
        "none",
        "train.label_smoothing",
    ),
    Deviation(
        "Momentum of batch norm",
        '"momentum 0.9"',
        "0.1 in PyTorch's sense, which is the same",
        "0.1 in PyTorch's sense",
        "train.bn_momentum",
    ),
    Deviation(
        "Batch norm's statistics",
        "not said",
        "per replica: 64 images (CIFAR), 128 (ImageNet), not synchronised",
        "per replica's batch at paper scale",
        "train.bn_batch",
    ),
    Deviation(
        "Learning rate within an epoch",
        "cosine",
        "stepped once an epoch",
        "stepped once an epoch",
        "",
    ),
    Deviation(
        "Warm-up of ImageNet's schedule",
        "5 epochs",
        "from 1e-4",
        "5 epochs from 1e-4",
        "train.warmup_lr",
    ),
    Deviation(
        "Weight decay",
        "5e-4 and 1e-4",
        "every parameter on CIFAR; without 1-d parameters on ImageNet (timm's filter)",
        "as in the code",
        "train.decay_norm_and_bias",
    ),
    Deviation(
        "Last incomplete batch",
        "not said",
        "dropped on CIFAR",
        "dropped",
        "",
    ),
    Deviation(
        "Epsilon in Eq. 3",
        "none",
        "none",
        "none; the mean energy is bounded from below by 1e-12, so that an all-zero sample stays "
        "finite",
        "",
        "none on any sample that is not all zero (tested in float64)",
    ),
    Deviation(
        "How Eq. 2 and 3 are computed",
        "on a tensor per path",
        "on a tensor per path",
        "in closed form, with the same values",
        "`benchmarks/literal.py` is the literal writing",
        "agrees to 1e-9 in float64, gradients included (tested); speed and memory in Table 4 and "
        "the figure of costs",
    ),
    Deviation(
        "Start of a coded block's conv3",
        "Kaiming normal",
        "held as a grouped convolution, hence std sqrt(2/(N C)) instead of sqrt(2/C)",
        "as in the code",
        "",
        "by Eq. 3 a larger effective learning rate of conv3, by about N; not measured",
    ),
    Deviation(
        "`rand-m2-n1`: posterize to 0 bits",
        "not said",
        "a black image, with the Pillow of then; today's Pillow refuses",
        "a black image",
        "`RandAugment.parse(..., posterize_min_bits=1)` keeps the highest bit",
    ),
    Deviation(
        "Early decoder",
        "nearest codeword to r E (Eq. 7)",
        "energies rescaled to sum to Nact",
        "Eq. 7",
        "",
        "none: the two are the same number",
    ),
    Deviation(
        "Blocks on Fig 4's axis for ImageNet",
        "9 to 17",
        "coded blocks are the 8th to the 16th",
        "8 to 16; the figure says where the paper's labels begin",
        "",
        "none: a label",
    ),
    Deviation(
        "Which accuracy is reported",
        "not said",
        "of the final epoch",
        "of the final epoch",
        "",
    ),
    Deviation(
        "Tables of codewords for CIFAR-100 and ImageNet",
        "made by Algorithm 1, not printed",
        "not at hand",
        "Algorithm 1 with the paper's distance and balance, seed 0; a stronger family beside",
        "model.scheme_family",
        "`paper/figures/decoding.pdf` shows decoding without a network",
    ),
    Deviation(
        "Concatenating paths",
        "not specified",
        "not at hand",
        "path n gives floor(C/N) channels, the first C mod N paths one more; d is raised until "
        "the parameters match most closely",
        "model.aggregate",
    ),
    Deviation(
        "mu and p_drop of the ImageNet ratio variants",
        "not said with the ratios",
        "not at hand",
        "those of Table 2 (1, 0.1)",
        "train.mu",
        experiment="table2-imagenet",
    ),
    Deviation(
        "Share of the parameters that a binary classifier keeps",
        "38, 27 and 35 %",
        "none",
        "counted both ways: on the network that is cut out (stem, c2, skips and batch norms of the "
        "sum stay whole), and with every parameter of a coded stage times r",
        "",
        "paper/tables/parameters.md; the second comes close to the paper, except for C10",
    ),
    Deviation(
        "Masking gradients instead of the coding loss (footnote 5)",
        "mentioned",
        "none",
        "an option",
        "train.gradient_masking",
    ),
    Deviation(
        "Multiply-adds of Table 4",
        "2.196 and 2.269 GFLOPs",
        "none",
        "convolutions and matrix products as torch counts them, halved; 3NCHW for each coded block "
        "as the paper does; the closed form beside",
        "",
        "paper/tables/table4.md",
        numbers="10^9 multiply-adds",
    ),
    Deviation(
        "Speed and memory of Table 4",
        "on a TPU",
        "none",
        "on the device that stands beside each number; compared as ratios of coded to plain",
        "",
    ),
    Deviation(
        "Which data sets Fig 2c, 7 and 8 show",
        "clouds and histograms without numbers",
        "none",
        "2c: CIFAR-100, 8: ImageNet, 7: all three",
        "",
    ),
    Deviation(
        "CIFAR-10's images",
        "the original images",
        "the original images",
        "images recompressed as JPEG of quality 75 where the archive is not at hand; it stands "
        "beside every number",
        "`--data`",
    ),
    Deviation(
        "The cpu scale",
        "none",
        "none",
        f"a smaller network, 15 epochs, no RandAugment: {_PROXY}",
        "`--scale`",
    ),
    Deviation(
        "The short scale",
        "none",
        "none",
        f"{WORDS[SHORT]}: {_PROXY}",
        "`--scale`",
    ),
)
