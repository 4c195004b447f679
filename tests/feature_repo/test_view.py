"""What a view's definition says of itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from feature_repo.entities import user
from feature_repo.view import Feature, View
from feature_repo.views import VIEWS, Int64

CODE = '''
"""Views of a user."""

def counts(events, dates):
    """A docstring."""
    return events.count()
'''


def load(path: Path, code: str) -> ModuleType:
    path.write_text(code)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def view_of(path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> View:
    module = load(path, code)
    monkeypatch.setitem(__import__("sys").modules, path.stem, module)
    feature = Feature("n", Int64, "how many")
    return View("counts", user, (feature,), module.counts, ("events",), "Counts.")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("A docstring.", "A better docstring."), True),
        (("    return", "    # why\n\n    return"), True),
        (("events.count()", "(events.count())"), True),
        (("events.count()", "events.count() + 1"), False),
    ],
)
def test_only_what_code_does_makes_days_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], same: bool
) -> None:
    before = view_of(tmp_path / "before.py", CODE, monkeypatch).code_hash()
    after = view_of(tmp_path / "after.py", CODE.replace(*change), monkeypatch).code_hash()
    assert (before == after) is same


def test_code_that_several_views_share_counts_for_each() -> None:
    codes = {v.name: v.code() for v in VIEWS}
    for name in ("user_statistics", "item_statistics", "item_review_sentiment"):
        assert "def windowed" in codes[name]
    assert "def windowed" not in codes["user_history"]


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.name)
def test_every_view_says_what_it_is(view: View) -> None:
    assert view.description.endswith(".")
    assert view.owner
    assert all(f.description for f in view.features)
    assert len({f.name for f in view.features}) == len(view.features)
    assert view.freshness >= view.frequency


def test_a_later_version_stands_beside_the_first() -> None:
    first = VIEWS[0]
    second = View(**{**vars(first), "version": 2})
    assert (first.full_name, second.full_name) == ("user_history", "user_history_v2")
    store = Path("/store")
    assert first.folder(store) != second.folder(store)
