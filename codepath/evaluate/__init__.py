"""Measuring a trained network. Every evaluation yields `Measurement`s; none imports train."""

from codepath.evaluate.accuracy import measure_accuracy
from codepath.evaluate.binary import (
    ALL_NEGATIVES_UP_TO,
    ALL_TEST_IMAGES_UP_TO,
    BinaryScores,
    DrawnScores,
    binary_scores,
    drawn_scores,
    load_binary_scores,
    measure_binary,
    score_split,
)
from codepath.evaluate.binary_protocols import measure_out_of_distribution, measure_protocols
from codepath.evaluate.cost import measure_cost
from codepath.evaluate.decoders import (
    fit_readouts,
    measure_decoders,
    nearest_codeword,
    readout_images,
    readout_scores,
)
from codepath.evaluate.exits import exit_costs, measure_exits
from codepath.evaluate.extraction import measure_extraction
from codepath.evaluate.foreign import foreign_negatives
from codepath.evaluate.paths import measure_paths
from codepath.evaluate.predict import Predictions, predict
from codepath.evaluate.removal import measure_removal
from codepath.evaluate.subset import choose, spread

__all__ = [
    "ALL_NEGATIVES_UP_TO",
    "ALL_TEST_IMAGES_UP_TO",
    "BinaryScores",
    "DrawnScores",
    "Predictions",
    "binary_scores",
    "choose",
    "drawn_scores",
    "exit_costs",
    "fit_readouts",
    "foreign_negatives",
    "load_binary_scores",
    "measure_accuracy",
    "measure_binary",
    "measure_cost",
    "measure_decoders",
    "measure_exits",
    "measure_extraction",
    "measure_out_of_distribution",
    "measure_paths",
    "measure_protocols",
    "measure_removal",
    "nearest_codeword",
    "predict",
    "readout_images",
    "readout_scores",
    "score_split",
    "spread",
]
