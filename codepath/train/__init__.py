"""Training: from a configuration to weights."""

from codepath.train.fit import choose_device, fit, load_trained

__all__ = ["choose_device", "fit", "load_trained"]
