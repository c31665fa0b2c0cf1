"""Training: from a configuration to weights."""

from codepath.train.distributed import World, choose_device, connected
from codepath.train.fit import fit
from codepath.train.options import FitOptions
from codepath.train.trained import load_trained

__all__ = ["FitOptions", "World", "choose_device", "connected", "fit", "load_trained"]
