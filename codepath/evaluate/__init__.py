"""Measuring a trained network. Every evaluation yields `Measurement`s; none imports train."""

from codepath.evaluate.accuracy import measure_accuracy
from codepath.evaluate.binary import binary_scores, measure_binary
from codepath.evaluate.cost import measure_cost
from codepath.evaluate.decoders import measure_decoders, nearest_codeword
from codepath.evaluate.predict import Predictions, predict
from codepath.evaluate.removal import measure_removal

__all__ = [
    "Predictions",
    "binary_scores",
    "measure_accuracy",
    "measure_binary",
    "measure_cost",
    "measure_decoders",
    "measure_removal",
    "nearest_codeword",
    "predict",
]
