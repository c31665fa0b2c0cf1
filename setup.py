"""What pyproject.toml cannot say: files from outside the package travel inside its wheel."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
SHIPPED = ("benchmarks/*.py", "paper/reference/*.csv", "slurm/profiles.toml")
"""They become codepath/shipped/..., see `SHIPPED` in codepath/core/provenance.py."""


class BuildWithShippedFiles(build_py):
    """Copies the shipped files; an editable installation reads them from the checkout."""

    def run(self) -> None:
        """Build the package's modules and data, then copy."""
        super().run()
        if self.editable_mode:
            return
        for pattern in SHIPPED:
            for source in sorted(HERE.glob(pattern)):
                target = Path(self.build_lib, "codepath", "shipped", source.relative_to(HERE))
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))


setup(cmdclass={"build_py": BuildWithShippedFiles})
