"""A data folder is its owner's: what others could read is closed, what they could have changed is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ops.local import private_folder
from ops.local.data_dir import OWN_NAMES, DataDir
from ops.local.private_folder import restrict_to_owner
from ops.runtime.failures import Failed


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_tree(root: Path) -> list[Path]:
    """Files and folders of several depths, each readable by everybody."""
    made = [root, root / "nats", root / "nats/jetstream", root / "logs"]
    for folder in made:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    for name in ("nats.conf", "nats/jetstream/1.blk", "logs/worker-1.log", "logs/tool"):
        (root / name).write_bytes(b"secret")
        (root / name).chmod(0o755 if name.endswith("tool") else 0o644)
        made.append(root / name)
    return made


def test_everything_in_it_is_closed(tmp_path: Path) -> None:
    """Folders and files of every depth; the owner's own rights stay."""
    made = open_tree(tmp_path / "data")
    done = restrict_to_owner(tmp_path / "data", OWN_NAMES)
    assert done.changed == len(made)
    assert {path: mode(path) & 0o077 for path in made} == dict.fromkeys(made, 0)
    assert mode(tmp_path / "data/logs/tool") == 0o700
    assert mode(tmp_path / "data/nats.conf") == 0o600
    assert restrict_to_owner(tmp_path / "data", OWN_NAMES).changed == 0


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link to somebody's file or folder changes nothing there."""
    root = tmp_path / "data"
    open_tree(root)
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "file").write_text("x")
    (outside / "file").chmod(0o644)
    (root / "logs/to-file").symlink_to(outside / "file")
    (root / "clickhouse").symlink_to(outside)
    (root / "nats/to-folder").symlink_to(outside)
    restrict_to_owner(root, OWN_NAMES)
    assert (mode(outside), mode(outside / "file")) == (0o755, 0o644)


def test_what_up_did_not_make_stays_as_it_is(tmp_path: Path) -> None:
    """Whoever names a folder with other things in it: they are behind the closed folder, and unchanged."""
    root = tmp_path / "data"
    open_tree(root)
    (root / "site").mkdir(mode=0o755)
    (root / "site/index.html").write_text("x")
    (root / "site/index.html").chmod(0o644)
    restrict_to_owner(root, OWN_NAMES)
    assert (mode(root), mode(root / "site"), mode(root / "site/index.html")) == (0o700, 0o755, 0o644)
    assert mode(root / "logs") == 0o700


def test_a_pipe_does_not_hold_it_up(tmp_path: Path) -> None:
    """Opening one would wait for its other end."""
    root = tmp_path / "data"
    root.mkdir(mode=0o700)
    os.mkfifo(root / "lock")
    assert restrict_to_owner(root, OWN_NAMES).changed == 0


@pytest.mark.parametrize("wide", [0o777, 0o775, 0o722])
def test_a_folder_that_others_could_change_is_refused(tmp_path: Path, wide: int) -> None:
    """What is in it may be theirs. Nothing is changed, and the message says what to do."""
    root = tmp_path / "data"
    open_tree(root)
    root.chmod(wide)
    with pytest.raises(Failed, match=r"chmod -R go-rwx .*data"):
        restrict_to_owner(root, OWN_NAMES)
    assert mode(root) == wide
    assert mode(root / "nats.conf") == 0o644


def test_an_empty_folder_that_others_could_change_is_closed(tmp_path: Path) -> None:
    """`mkdir` makes such a folder for people with umask 002."""
    root = tmp_path / "data"
    root.mkdir()
    root.chmod(0o777)
    restrict_to_owner(root, OWN_NAMES)
    assert mode(root) == 0o700


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could open it again at any time."""
    root = tmp_path / "data"
    open_tree(root)
    me = os.geteuid()
    monkeypatch.setattr(private_folder.os, "geteuid", lambda: me + 1)
    with pytest.raises(Failed, match=rf"user {me + 1}, found .* of user {me}"):
        restrict_to_owner(root, OWN_NAMES)
    assert mode(root) == 0o755


def test_the_top_is_closed_even_where_there_is_too_much_to_look_at(tmp_path: Path) -> None:
    """A start does not wait for a million files, and says that it did not look at all of them."""
    root = tmp_path / "data"
    open_tree(root)
    done = restrict_to_owner(root, OWN_NAMES, max_entries=2)
    assert mode(root) == 0o700
    assert (done.seen, done.is_complete) == (2, False)


def test_up_takes_its_folder_this_way(tmp_path: Path) -> None:
    """The lock is only had on a closed folder."""
    made = open_tree(tmp_path / "data")
    with DataDir(tmp_path / "data").locked():
        assert {mode(path) & 0o077 for path in made} == {0}
