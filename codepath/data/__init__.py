"""Images in, batches out: the only package that knows where images come from."""

from codepath.data.datasets import load_image_set, source_names
from codepath.data.files import FileSet, FileSplit
from codepath.data.foreign import Foreign, foreign_images
from codepath.data.image_sets import Images, ImageSet, Split
from codepath.data.loader_factory import choose_backend, evaluation_loader, training_loader
from codepath.data.loaders import Batch, Loader, LoaderOptions, Normalize
from codepath.data.preview import Preview, describe_images, preview

__all__ = [
    "Batch",
    "FileSet",
    "FileSplit",
    "Foreign",
    "ImageSet",
    "Images",
    "Loader",
    "LoaderOptions",
    "Normalize",
    "Preview",
    "Split",
    "choose_backend",
    "describe_images",
    "evaluation_loader",
    "foreign_images",
    "load_image_set",
    "preview",
    "source_names",
    "training_loader",
]
