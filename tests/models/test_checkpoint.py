"""A checkpoint can be killed at any moment of its replacement, and a whole one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.checkpoint import remove, replace, standing


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "meta.pt").write_text(content)
    return path


def content(path: Path) -> str:
    return (standing(path) / "meta.pt").read_text()


def test_the_new_one_takes_the_place_of_the_old(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    for n in "123":
        replace(last, folder(tmp_path / "staging", n))
        assert content(last) == n
        assert standing(last) == last
        assert list(tmp_path.iterdir()) == [last], "nothing is left beside it"


class Killed(BaseException):
    """In place of a signal that cannot be caught."""


def killed_replacing(path: Path, staging: Path, before_rename: int) -> None:
    """Die before the rename of this number, counted from 1."""
    rename, left = Path.rename, iter(range(before_rename - 1))

    def killed(path: Path, goal: Path) -> Path:
        if next(left, None) is None:
            raise Killed
        return rename(path, goal)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            replace(path, staging)


@pytest.mark.parametrize("rename", [1, 2])
def test_a_kill_before_a_rename_leaves_a_whole_one(rename: int, tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    replace(last, folder(tmp_path / "first", "old"))
    killed_replacing(last, folder(tmp_path / "second", "new"), rename)
    assert last.exists() == (rename == 1)
    assert content(last) == "old"
    # The run that goes on is killed too.
    killed_replacing(last, folder(tmp_path / "third", "new"), 1)
    assert content(last) == "old", "the only whole one is not removed"
    replace(last, folder(tmp_path / "fourth", "new"))
    assert content(last) == "new"
    assert not (tmp_path / ".last.ckpt.before").exists()


def test_either_form_is_removed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder(tmp_path / "folder", "")
    for name in ("file", "folder", "nothing"):
        remove(tmp_path / name)
    assert not list(tmp_path.iterdir())
