"""What is proved about a scheme: distance, balance and close pairs against their bounds."""

from __future__ import annotations

from dataclasses import dataclass

from codepath.codes.bounds import fewest_pairs, largest_distance, refuted_by
from codepath.codes.scheme import CodingScheme


@dataclass(frozen=True)
class Certificate:
    """A scheme's values beside the bounds on every scheme of the same K, N and Nact."""

    distance: int
    largest_distance: int
    """No scheme has a larger minimum distance."""
    excluded_by: str
    """The bound that excludes `largest_distance` + 2."""
    column_sums: tuple[int, int]
    """The least and the most classes of a path."""
    even_column_sums: tuple[int, int]
    """The least and the most classes of a path if classes are spread as evenly as possible."""
    pairs: int
    """Pairs of classes at the minimum distance."""
    fewest_pairs: int
    """No scheme of this minimum distance has fewer such pairs."""

    @property
    def distance_optimal(self) -> bool:
        """Whether the minimum distance is the largest possible."""
        return self.distance == self.largest_distance

    @property
    def balance_optimal(self) -> bool:
        """Whether the columns are as even as possible."""
        return self.column_sums == self.even_column_sums

    @property
    def pairs_optimal(self) -> bool:
        """Whether no scheme of this minimum distance has fewer pairs at that distance."""
        return self.pairs == self.fewest_pairs

    def lines(self) -> list[str]:
        """A line each for distance, balance and pairs."""
        if self.distance_optimal:
            distance = f"optimal: {self.distance + 2} is excluded by {self.excluded_by}"
        else:
            distance = (
                f"at most {self.largest_distance} is possible ({self.largest_distance + 2} is "
                f"excluded by {self.excluded_by}); gap {self.largest_distance - self.distance}"
            )
        low, high = self.even_column_sums
        balance = "optimal: as even as possible"
        if not self.balance_optimal:
            balance = f"{low} to {high} would be even"
        bound = "Delsarte's linear programme with counting inequalities"
        pairs = f"optimal by {bound}"
        if not self.pairs_optimal:
            gap = self.pairs - self.fewest_pairs
            pairs = f"at least {self.fewest_pairs:,} by {bound}; gap {gap:,}"
        return [
            f"minimum distance {self.distance} ({distance})",
            f"classes per path {self.column_sums[0]} to {self.column_sums[1]} ({balance})",
            f"pairs at distance {self.distance}: {self.pairs:,} ({pairs})",
        ]


def certify(scheme: CodingScheme) -> Certificate:
    """Prove that a scheme's distance, balance and pairs at d are optimal, or bound the gap.

    See `codepath.codes.bounds` for the mathematics.
    """
    size = scheme.classes, scheme.paths, scheme.active
    most = largest_distance(*size)
    least, rest = divmod(scheme.classes * scheme.active, scheme.paths)
    sums = scheme.column_sums
    bound = fewest_pairs(*size, scheme.min_distance)
    return Certificate(
        distance=scheme.min_distance,
        largest_distance=most,
        excluded_by=refuted_by(*size, most + 2) or "",
        column_sums=(int(sums.min()), int(sums.max())),
        even_column_sums=(least, least + (rest > 0)),
        pairs=scheme.pairs_at_min_distance,
        fewest_pairs=bound or 0,
    )
