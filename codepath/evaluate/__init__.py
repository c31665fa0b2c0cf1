"""Measuring a trained network. Every evaluation yields `Measurement`s; none imports train."""

from codepath.evaluate.accuracy import measure_accuracy
from codepath.evaluate.binary import BinaryScores, binary_scores, measure_binary
from codepath.evaluate.binary_protocols import measure_out_of_distribution, measure_protocols
from codepath.evaluate.cost import measure_cost
from codepath.evaluate.decoders import measure_decoders, nearest_codeword
from codepath.evaluate.exits import exit_costs, measure_exits
from codepath.evaluate.extraction import measure_extraction
from codepath.evaluate.paths import measure_paths
from codepath.evaluate.predict import Predictions, predict
from codepath.evaluate.removal import measure_removal

__all__ = [
    "BinaryScores",
    "Predictions",
    "binary_scores",
    "exit_costs",
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
]
