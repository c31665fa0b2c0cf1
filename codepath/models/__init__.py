"""Coded ResNeXt networks. Importing this package registers them in timm."""

from codepath.models.classifier_file import load_binary_classifier, save_binary_classifier
from codepath.models.coded_block import CodedBottleneck
from codepath.models.coded_resnext import CodedOutput, CodedResNeXt
from codepath.models.create import create_model, model_names
from codepath.models.early_exit import EarlyExit, Readout, load_early_exit
from codepath.models.energies import path_energies
from codepath.models.extract import extract_binary_classifier, extract_paths
from codepath.models.stages import Stage

__all__ = [
    "CodedBottleneck",
    "CodedOutput",
    "CodedResNeXt",
    "EarlyExit",
    "Readout",
    "Stage",
    "create_model",
    "extract_binary_classifier",
    "extract_paths",
    "load_binary_classifier",
    "load_early_exit",
    "model_names",
    "path_energies",
    "save_binary_classifier",
]
