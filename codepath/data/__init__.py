"""Images in, batches out: the only package that knows where images come from."""

from codepath.data.data_set import ArrayDataSet, ArraySplit, DataSet
from codepath.data.datasets import load_configured, load_data_set, source_names
from codepath.data.files import FileDataSet, FileSplit
from codepath.data.foreign import Foreign, foreign_images
from codepath.data.loader_factory import choose_backend, evaluation_loader, training_loader
from codepath.data.loaders import Batch, Loader, LoaderOptions, Normalize
from codepath.data.preview import Preview, describe_images, preview

__all__ = [
    "ArrayDataSet",
    "ArraySplit",
    "Batch",
    "DataSet",
    "FileDataSet",
    "FileSplit",
    "Foreign",
    "Loader",
    "LoaderOptions",
    "Normalize",
    "Preview",
    "choose_backend",
    "describe_images",
    "evaluation_loader",
    "foreign_images",
    "load_configured",
    "load_data_set",
    "preview",
    "source_names",
    "training_loader",
]
