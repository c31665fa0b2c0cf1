"""A trained run put to use: classifiers cut out, exits set, paths looked at.

The evaluation's saved predictions and scores are used where they serve; images are loaded only for
what needs the network again.
"""
