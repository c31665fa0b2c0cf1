"""Coded ResNeXt networks. Importing this package registers them in timm."""

from codepath.models.coded_block import CodedBottleneck, path_energies
from codepath.models.coded_resnext import CodedOutput, CodedResNeXt, Stage
from codepath.models.create import create_model, model_names

__all__ = [
    "CodedBottleneck",
    "CodedOutput",
    "CodedResNeXt",
    "Stage",
    "create_model",
    "model_names",
    "path_energies",
]
