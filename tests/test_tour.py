"""The tour for newcomers: the script runs, what it says is so, the notebook has the same cells.

The notebook is made from the script by jupytext 1.19, which the project does not depend on:
jupytext --update --to ipynb notebooks/tour.py
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

from codepath.codes import johnson_bound
from codepath.models.early_exit import NETWORK_END

SCRIPT = Path(__file__).parents[1] / "notebooks" / "tour.py"
NOTEBOOK = SCRIPT.with_suffix(".ipynb")


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The script's names after its run; "drawn" has the panels' titles of every picture."""
    folder = tmp_path_factory.mktemp("tour")
    open_before = plt.get_fignums()
    drawn: list[list[str]] = []

    def draw() -> None:
        for number in set(plt.get_fignums()) - set(open_before):
            figure = plt.figure(number)
            figure.canvas.draw()
            drawn.append([axis.get_title() for axis in figure.axes])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        plt.switch_backend("Agg")  # pyplot, once loaded, does not heed the variable
        patch.setattr(plt, "show", draw)
        patch.chdir(folder)
        names = runpy.run_path(str(SCRIPT))
    assert plt.get_fignums() == open_before
    assert not list(folder.iterdir())
    return names | {"drawn": drawn}


def test_samples_have_two_images_of_every_class(tour: dict[str, Any]) -> None:
    assert sorted(tour["truths"]) == sorted(2 * tour["labels"])
    assert tour["images"].shape == (20, *tour["image_shape"])
    assert tour["right"] > len(tour["files"]) / len(tour["labels"])  # more than by chance


def test_decisions_by_eq7_are_the_explainers(tour: dict[str, Any]) -> None:
    explanation = tour["explanation"]
    assert tour["decisions"] == {view.block: view.decision for view in explanation.blocks}
    assert explanation.prediction == tour["found"][tour["chosen"]]
    (titles,) = tour["drawn"]
    assert [title.splitlines() for title in titles[1:]] == [
        [f"block {number}", f"decision: {label}"] for number, label in tour["decisions"].items()
    ]


def test_cut_out_classifier_is_the_masked_network(tour: dict[str, Any]) -> None:
    for own in (tour["cut_out"], tour["ship_logits"]):
        torch.testing.assert_close(own, tour["masked"], rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        whole = tour["model"](tour["images"])[:, tour["ship"]]
    assert not torch.allclose(whole, tour["masked"], atol=1e-2)
    assert 0 < tour["size"].physical < tour["size"].network
    assert list(tour["latency"]) == ["network", "cut out", "fused"]
    assert set(tour["called_ships"]) <= set(tour["names"])


def test_early_exits_are_as_the_text_says(tour: dict[str, Any]) -> None:
    exits, macs = tour["exits"], tour["macs"]
    assert exits.criterion == "margin"
    assert exits.weights is None
    assert exits.readouts is None
    costs = [macs[block] for block in (*exits.blocks, NETWORK_END)]
    assert costs == sorted(set(costs))
    assert 0 <= tour["saved"] < 1
    assert set(tour["left_at"]) <= set(macs)
    for left, early, whole in zip(tour["left_at"], tour["early_found"], tour["found"], strict=True):
        assert left != NETWORK_END or early == whole


def test_designed_code_meets_its_bound(tour: dict[str, Any]) -> None:
    scheme, certificate = tour["scheme"], tour["certificate"]
    size = tour["K"], tour["N"], tour["active"]
    assert (scheme.classes, scheme.paths, scheme.active) == size
    assert scheme.min_distance == tour["bound"] == certificate.largest_distance
    assert certificate.distance_optimal
    most = johnson_bound(scheme.paths, scheme.active, distance=scheme.min_distance)
    assert most >= scheme.classes
    assert certificate.pairs >= certificate.fewest_pairs


def test_untrained_network_has_the_designed_code(tour: dict[str, Any]) -> None:
    scheme = tour["scheme"]
    for block in tour["untrained"].coded_blocks.values():
        assert block.codewords.tolist() == scheme.table.tolist()
    assert tour["fresh"].logits.shape == (1, scheme.classes)
    for energies in tour["fresh"].energies.values():
        assert float(energies.sum()) == pytest.approx(scheme.paths, rel=1e-4)


def script_cells(script: Path) -> list[tuple[str, str]]:
    """Kind and text of every cell of a script in the percent format."""
    cells = []
    for cell in re.split(r"^# %%", script.read_text(), flags=re.MULTILINE)[1:]:
        mark, _, text = cell.partition("\n")
        text = text.strip("\n")
        if mark == " [markdown]":
            cells.append(("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE)))
        else:
            cells.append(("code", text))
    return cells


def test_notebook_has_the_scripts_cells_and_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    assert found == script_cells(SCRIPT), "jupytext --update --to ipynb notebooks/tour.py"
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
