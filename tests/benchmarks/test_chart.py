"""Pictures that show all they say."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from benchmarks.chart import bars


@pytest.mark.parametrize("names", [["a", "b"], ["millrace evaluate", "a peer " * 6]])
def test_titles_and_labels_lie_inside_the_picture(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[plt.Figure] = []
    monkeypatch.setattr(plt, "close", drawn.append)
    title = "200 items, width 64, 2 blocks"
    bars({title: dict(zip(names, (4205.0, 830.0), strict=True))}, "users/s", tmp_path / "bars.png")
    monkeypatch.undo()
    (figure,) = drawn
    figure.draw_without_rendering()  # at the resolution that positions are asked in
    (axis,) = figure.axes
    for text in (axis.title, axis.xaxis.label, *axis.get_yticklabels(), *axis.texts):
        box = text.get_window_extent()
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
    plt.close(figure)
