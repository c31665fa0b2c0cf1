# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A tour of codepath in ten minutes
#
# A coded ResNeXt is an image classifier whose blocks consist of parallel *paths*.
# In every coded block each class has some of the paths.
# Which ones is fixed before training, by a binary *codeword* for each class.
# A 1 at place n gives path n to the class.
#
# This tour shows what follows from that:
#
# 1. load a trained network and read its card,
# 2. classify twenty images,
# 3. look at the paths of one image,
# 4. cut out the classifier of one class,
# 5. stop early where a block is sure,
# 6. design a code for another number of classes.
#
# It needs no internet, no data set and no GPU: the network and the images come with the package.
# After `make setup`, run `.venv/bin/python notebooks/tour.py`.
# Or open `notebooks/tour.ipynb` in Jupyter, which has to be installed into `.venv` for that.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import timm
import torch

import codepath
import codepath.models  # registers the networks in timm
from codepath.codes import certify, design_scheme, johnson_bound, largest_distance
from codepath.core.photos import read_photo
from codepath.evaluate import exit_costs
from codepath.evaluate.latency import interleaved_latency
from codepath.evaluate.thresholds import Objective
from codepath.models import extract_binary_classifier, load_early_exit
from codepath.models.classifier_file import normalised_image
from codepath.models.early_exit import NETWORK_END
from codepath.models.extract import count_parameters
from codepath.models.shipped import BEST, FOLDER
from codepath.parts.explanation import Explainer
from codepath.parts.judgement import kept_judgement

# %% [markdown]
# ## 1. A trained network and its card
#
# A network that comes with the package is loaded by name, as any other network of timm.
# Its folder holds the weights, the card, and the settings that sections 4 and 5 use.
# The card says what the network was trained on and how well it does.

# %%
model = timm.create_model(BEST, pretrained=True).eval()
folder = FOLDER / BEST
card = (folder / "README.md").read_text()
print(card[card.index("# ") : card.index("## Recipe")])

# %% [markdown]
# The first blocks are plain: every class uses all of their paths. The later ones are coded.
# A coded block has N paths, and Nact of them are *active* for a class.
# The *ratio* is r = Nact / N.
# Blocks are counted from 1, paths from 0.

# %%
labels = list(model.pretrained_cfg["label_names"])
print(f"{len(model.blocks)} blocks, of which {len(model.coded_blocks)} are coded")
for number, block in model.coded_blocks.items():
    print(f"block {number}: N = {block.paths}, Nact = {block.active}, r = {block.ratio}")

first = min(model.coded_blocks)
print(f"\ncodewords of block {first}")
for label, word in zip(labels, model.coded_blocks[first].codewords.tolist(), strict=True):
    print(f"{label:<12}{''.join(map(str, word))}")

# %% [markdown]
# ## 2. Twenty images
#
# Two images of every class come with the package.
# Some are photographs, others drawings or rendered models.
# `SOURCES.csv` beside them says where each is from.
# `read_photo` cuts and resizes an image of any size to what the network takes.
# For an image of your own, add its path to `files`.

# %%
samples = Path(codepath.__file__).parent / "explore" / "samples"
files = sorted(samples.glob("*.jpg"))
names = [file.stem for file in files]
truths = [name.rpartition("-")[0] for name in names]

config = model.pretrained_cfg
image_shape = config["input_size"]  # (C, H, W)
photos = [read_photo(file.read_bytes(), file.name, image_shape) for file in files]
images = torch.stack(
    [normalised_image(p.pixels, image_shape, config["mean"], config["std"]) for p in photos]
)

with torch.inference_mode():
    probabilities = model(images).softmax(dim=1)

found = [labels[k] for k in probabilities.argmax(dim=1).tolist()]
print(f"{'image':<16}{'prediction':<14}{'probability':>11}")
for name, truth, prediction, row in zip(names, truths, found, probabilities, strict=True):
    verdict = "right" if prediction == truth else "wrong"
    print(f"{name:<16}{prediction:<14}{float(row.max()):>11.2f}  {verdict}")
right = sum(prediction == truth for prediction, truth in zip(found, truths, strict=True))
print(f"\n{right} of {len(files)} right")

# %% [markdown]
# That is no accuracy: twenty images are too few, and many look unlike the training images.
# The accuracy is on the card, which also says on how many test images it was measured.

# %% [markdown]
# ## 3. The paths of one image
#
# The *energy* E of a path is the mean square of what the path puts out.
# The N energies of a block are scaled so that their mean is 1.
# If an image used the paths of its class alone, and all equally, then r E would be the codeword:
# 1 on the class's paths and 0 on the others. Training pushes towards this.
#
# So every coded block can classify by itself.
# Its decision is the class whose codeword is nearest to r E. This is Eq. 7 of the paper.
# `forward_coded` gives the energies of all coded blocks along with the logits.

# %%
chosen = names.index("ship-2")  # try others too, such as "ship-1"
with torch.inference_mode():
    output = model.forward_coded(images[chosen : chosen + 1])

usage, decisions = {}, {}
for number, block in model.coded_blocks.items():
    usage[number] = block.ratio * output.energies[number][0]  # (N,), r E
    distances = (usage[number] - block.codewords).norm(dim=1)  # (K,)
    decisions[number] = labels[int(distances.argmin())]
    print(f"block {number}: {decisions[number]}, at distance {float(distances.min()):.2f}")
print(f"whole network: {found[chosen]}")

# %% [markdown]
# The picture has one panel for each coded block.
# Bars are r E. Squares are the nearest codeword. Crosses are the codeword of the true class.
# Where both are the same, the crosses lie in the squares.

# %%
count = len(model.coded_blocks)
figure, (image_axis, *axes) = plt.subplots(
    1, 1 + count, figsize=(2.2 + 2.2 * count, 2.9), layout="constrained"
)
image_axis.imshow(photos[chosen].pixels)
image_axis.set_title(f"{names[chosen]}\n{image_shape[2]} x {image_shape[1]} pixels")
image_axis.axis("off")

top = max(1.0, *(float(values.max()) for values in usage.values()))
for axis, (number, block) in zip(axes, model.coded_blocks.items(), strict=True):
    words = dict(zip(labels, block.codewords.tolist(), strict=True))
    paths = range(block.paths)
    axis.bar(paths, usage[number].tolist(), color="0.7", label="r E of this image")
    axis.plot(
        paths, words[decisions[number]], "s", markersize=8, color="black", fillstyle="none",
        label="nearest codeword",
    )  # fmt: skip
    axis.plot(
        paths, words[truths[chosen]], "x", markersize=5, color="black",
        label=f"codeword of {truths[chosen]}",
    )  # fmt: skip
    axis.set_title(f"block {number}\ndecision: {decisions[number]}")
    axis.set_xlabel("path")
    axis.set_xticks(paths if block.paths <= 10 else range(0, block.paths, 5))
    axis.set_yticks([0, 0.5, 1])
    axis.set_ylim(-0.12, 1.12 * top)
axes[0].set_ylabel("r E (1: fully used)")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()
plt.close(figure)

# %% [markdown]
# `Explainer` gives all of this in one call, for any photograph.
# `codepath explain` does it on the command line.

# %%
explainer = Explainer(folder)
photo = explainer.read(files[chosen].read_bytes(), files[chosen].name)
explanation = explainer.explain(photo, names[chosen], truths[chosen])
print(f"prediction: {explanation.prediction}")
for view in explanation.blocks:
    print(f"block {view.block}: {view.decision}")

# %% [markdown]
# ## 4. The classifier of one class
#
# In the coded blocks, ships have a part of the paths alone.
# `extract_binary_classifier` keeps those and drops the others, without retraining.
# The stem, the plain blocks and the skip connections serve all classes, and stay whole.
# The result is a network of its own, with a single logit: ship or not.
# `fuse` folds batch normalisation into the convolutions. This form is what gets stored and run.

# %%
ship = labels.index("ship")
classifier = extract_binary_classifier(model, ship)
fused = classifier.fuse()
size = count_parameters(model, classifier)
print(f"network:         {size.network:>9,} parameters")
print(f"ship classifier: {size.physical:>9,} parameters")
print(f"share kept:      {size.physical_share:>9.1%}")

# %% [markdown]
# It computes what the whole network does when all paths but those of ships are switched off.

# %%
with torch.inference_mode():
    masked = model.forward_coded(images, keep=ship).logits[:, ship]
    cut_out = classifier(images)
    ship_logits = fused(images)
print(f"largest difference, cut out: {float((cut_out - masked).abs().max()):.1e}")
print(f"largest difference, fused:   {float((ship_logits - masked).abs().max()):.1e}")

# %% [markdown]
# Its answer is yes where the logit reaches a threshold.
# The threshold was chosen for the best F1, and its precision and recall were then measured on
# test images. Both are kept in the folder.

# %%
judgement = kept_judgement(folder, ship, len(labels), Objective("f1"))
for metric in ("precision", "recall"):
    low, high = judgement.metrics[f"{metric}_95"]
    print(f"{metric}: {judgement.metrics[metric]:.2f} (95 % interval {low:.2f} to {high:.2f})")
print(f"on {judgement.metrics['n']:,} {judgement.metrics['split']} images\n")

yes = (ship_logits >= judgement.threshold).tolist()
called_ships = [name for name, said in zip(names, yes, strict=True) if said]
print("called a ship:", ", ".join(called_ships) or "none of the twenty")

# %% [markdown]
# How fast is it? A machine's speed drifts.
# So all three are timed in turns on the same images, and compared within each turn.
# Look at the ratio: the seconds are those of one machine.
# The network has its batch normalisation unfolded, which is a part of what `fused` gains.

# %%
latency = interleaved_latency(
    {"network": model, "cut out": classifier, "fused": fused}, [images], turns=15
)
print(f"{len(images)} images a call, threads: {torch.get_num_threads()}, medians of 15 turns")
for name, timing in latency.items():
    print(f"{name:<10}{1000 * timing.p50:>8.1f} ms, ratio {timing.ratio:.2f}")

# %% [markdown]
# ## 5. Leaving early
#
# A block that is sure of its decision can end the computation.
# Here, being sure means a *margin*: how much nearer the nearest codeword is than the second one,
# in squared distance. Each block has a threshold, and an image leaves where its margin reaches it.
# The folder's `exits.json` has the thresholds, and says how they were chosen.
#
# `asked` is the top-1 accuracy that may be lost.
# The cross-fitted numbers are for test images that had no part in choosing the thresholds:
# their accuracy, and the mean share of the multiply-adds that an image takes.

# %%
about = json.loads((folder / "exits.json").read_text())["about"]
for key, value in about.items():
    print(f"{key}: {value}")

# %% [markdown]
# `load_early_exit` makes a network that stops by these thresholds.
# `exit_costs` counts the multiply-adds of an image that leaves at each block.

# %%
exits = load_early_exit(model, folder / "exits.json")
early = exits(images)
macs = exit_costs(model, image_shape).macs
whole = macs[NETWORK_END]

left_at = early.exits.tolist()
print(f"criterion: {exits.criterion}\n")
for exit_block in (*exits.blocks, NETWORK_END):
    place = "the end" if exit_block == NETWORK_END else f"block {exit_block}"
    threshold = exits.thresholds.get(exit_block)
    needed = "" if threshold is None else f", threshold {threshold:.2f}"
    leaving = [name for name, left in zip(names, left_at, strict=True) if left == exit_block]
    print(f"{place}: {macs[exit_block] / whole:.0%} of the multiply-adds{needed}")
    print(f"    {', '.join(leaving) or 'none'}")

# %%
saved = 1 - sum(macs[left] for left in left_at) / (len(left_at) * whole)
early_found = [labels[k] for k in early.classes.tolist()]
same = sum(a == b for a, b in zip(early_found, found, strict=True))
early_right = sum(a == b for a, b in zip(early_found, truths, strict=True))
print(f"{saved:.1%} of the multiply-adds saved")
print(f"{same} of {len(files)} decisions are those of the whole network")
print(f"{early_right} right, {right} by the whole network")

# %% [markdown]
# ## 6. A code for 37 classes
#
# Another number of classes needs other codewords.
# The table of all codewords is called a *coding scheme*.
# The distance of two codewords is the number of places where they differ.
# The larger it is, the easier the two classes are to tell apart.
# So a good scheme has a large *minimum distance*.
# `design_scheme` searches for one: 37 classes on 20 paths, 8 of them active for each class.

# %%
K, N, active = 37, 20, 8
scheme = design_scheme(K, N, active)
print(f"minimum distance: {scheme.min_distance}")
for distance, pairs in enumerate(scheme.distance_counts.tolist()):
    if pairs:
        print(f"distance {distance:>2}: {pairs:>3} pairs of classes")

# %% [markdown]
# How large can the minimum distance be at all?
# Johnson's bound is the number of codewords that may exist, all at least a distance apart.
# Where it is less than 37, that distance is impossible.
# Delsarte's linear programme can exclude more.
# `largest_distance` is the largest one that neither of them excludes.

# %%
bound = largest_distance(K, N, active)
for distance in range(bound - 2, bound + 6, 2):
    most = johnson_bound(N, active, distance=distance)
    print(f"distance {distance:>2}: at most {most:>5,} codewords by Johnson's bound")
print(f"largest distance that no bound excludes for {K} codewords: {bound}")

# %% [markdown]
# The certificate sets the scheme beside the bounds.
# It says what is proved to be optimal, and how large the gap is otherwise.

# %%
certificate = certify(scheme)
print("\n".join(certificate.lines()))

# %% [markdown]
# A network takes any scheme with its number of paths.
# This one has three stages of three blocks. `active` says how many paths a class has in each stage.
# All 20 of 20 makes a plain stage. The other two stages get the new scheme.

# %%
untrained = timm.create_model(
    "coded_resnext29_20x6d", num_classes=K, active=(N, active, active), schemes=[scheme, scheme]
).eval()
with torch.inference_mode():
    fresh = untrained.forward_coded(images[:1])
print(f"logits: {tuple(fresh.logits.shape)}")
for number, energies in fresh.energies.items():
    print(f"block {number}: {energies.shape[1]} energies, mean {float(energies.mean()):.3f}")

# %% [markdown]
# Its weights are random, so its predictions mean nothing yet.
# `codepath.train.losses.TrainingObjective` wraps it for training in a loop of your own.
# `codepath timm` runs a training script of timm with the coding loss.
#
# ## Where to go on
#
# | You want to | Look at |
# | --- | --- |
# | see the paths of your own images | `codepath explore`, `codepath explain IMAGE` |
# | train and measure a small network | `make demo` |
# | repeat the paper's experiments | `README.md`, `codepath list` |
# | put a trained network into a folder like this one | `codepath pack` |
# | find your way in the code | `CONTRIBUTING.md` |
