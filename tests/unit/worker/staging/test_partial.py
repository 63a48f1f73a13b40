"""The file of an archive that is being written: one writer at a time, and only the latest may seal it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailhaul.proto.errors import FencedError, StagingError
from mailhaul.worker.staging import partial as partial_module
from mailhaul.worker.staging.partial import PartialArchive, open_partial, partial_path
from mailhaul.worker.staging.syncing import Syncable, Syncer


class Later(Syncer):
    """A Syncer whose syncs happen when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Syncable] = []

    def ask(self, file: Syncable) -> None:
        self.asked.append(file)

    def work(self) -> None:
        while self.asked:
            self.asked.pop().sync()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "primary" / "user" / "20261121T031500Z-4f3a.0.0123456789abcdef.mha"


@pytest.fixture
def later() -> Later:
    return Later()


class Opener:
    def __init__(self, path: Path, syncer: Syncer) -> None:
        self.path = path
        self.syncer = syncer
        self.files: list[PartialArchive] = []

    def __call__(self, epoch: int) -> PartialArchive:
        file = open_partial(self.path, epoch, self.syncer)
        assert file is not None
        self.files.append(file)
        return file


@pytest.fixture
def take(path: Path, later: Later) -> Iterator[Opener]:
    """Open the file with an epoch."""
    opener = Opener(path, later)
    yield opener
    for file in opener.files:
        file.close()


def names(path: Path) -> list[str]:
    return sorted(one.name.removeprefix(path.name) for one in path.parent.iterdir())


class TestTakingOver:
    def test_a_new_one_is_empty_and_private(self, path: Path, take: Opener) -> None:
        file = take(3)
        assert (file.size, file.durable_bytes, names(path)) == (0, 0, [".3.partial"])
        assert partial_path(path, 3).stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700

    def test_a_later_attempt_goes_on_with_what_is_there(self, path: Path, take: Opener) -> None:
        first = take(1)
        first.append(b"one ")
        first.close()
        second = take(2)
        assert (second.size, second.durable_bytes, names(path)) == (4, 4, [".2.partial"])
        second.append(b"two")
        second.seal()
        assert (names(path), path.read_bytes()) == ([""], b"one two")

    def test_the_same_attempt_may_come_back(self, path: Path, take: Opener) -> None:
        first = take(1)
        first.append(b"one")
        first.close()
        assert take(1).size == 3
        assert names(path) == [".1.partial"]

    def test_an_earlier_attempt_is_refused(self, path: Path, take: Opener) -> None:
        take(2).close()
        with pytest.raises(FencedError):
            open_partial(path, 1)
        assert names(path) == [".2.partial"]

    def test_epochs_are_numbers(self, path: Path, take: Opener) -> None:
        take(9).close()
        assert take(10).size == 0
        with pytest.raises(FencedError):
            open_partial(path, 9)

    def test_other_files_are_left_alone(self, path: Path, take: Opener) -> None:
        path.parent.mkdir(parents=True)
        others = [".partial", ".x.partial", "1.7.partial", ".-1.partial", ".7.partial.7.partial", ".7"]
        for other in others:
            path.with_name(path.name + other).write_bytes(b"")
        take(5)
        assert names(path) == sorted([*others, ".5.partial"])

    def test_only_one_at_a_time(self, path: Path, take: Opener) -> None:
        """A writer that is alive is fenced off at once; its successor has to wait until it has let go."""
        first = take(1)
        first.append(b"one")
        first.checkpoint()
        with pytest.raises(StagingError, match="still writes") as caught:
            open_partial(path, 2)
        assert caught.value.retryable
        first.append(b" more")
        with pytest.raises(FencedError):
            first.checkpoint()
        with pytest.raises(FencedError):
            first.seal()
        first.close()
        assert take(2).size == len(b"one more")
        assert names(path) == [".2.partial"]

    def test_the_same_attempt_is_refused_while_it_is_alive(self, path: Path, take: Opener) -> None:
        first = take(1)
        with pytest.raises(StagingError, match="still writes"):
            open_partial(path, 1)
        first.append(b"data")
        first.seal()
        assert path.read_bytes() == b"data"

    def test_a_sealed_one_is_not_opened(self, path: Path, take: Opener) -> None:
        take(1).seal()
        assert open_partial(path, 2) is None
        assert names(path) == [""]

    def test_no_link_is_followed(self, path: Path, tmp_path: Path) -> None:
        path.parent.mkdir(parents=True)
        (tmp_path / "other").write_bytes(b"somebody else's")
        partial_path(path, 1).symlink_to(tmp_path / "other")
        with pytest.raises(StagingError):
            open_partial(path, 2)
        assert (tmp_path / "other").read_bytes() == b"somebody else's"

    def test_what_was_removed_is_told(self, path: Path, take: Opener) -> None:
        file = take(1)
        partial_path(path, 1).unlink()
        with pytest.raises(StagingError, match="removed") as caught:
            file.checkpoint()
        assert not isinstance(caught.value, FencedError)


class TestRaces:
    """Another attempt comes in between any two steps."""

    @pytest.mark.parametrize("there", [False, True])
    @pytest.mark.parametrize("step", ["_claim", "_open_locked", "_is_ours"])
    def test_a_later_attempt_is_faster(
        self, path: Path, take: Opener, monkeypatch: pytest.MonkeyPatch, step: str, there: bool
    ) -> None:
        if there:
            first = take(1)
            first.append(b"data")
            first.close()
        real = getattr(partial_module, step)

        def delayed(*arguments: object) -> object:
            monkeypatch.setattr(partial_module, step, real)
            if step == "_is_ours":  # it has the lock: the other one can do no more than rename
                with pytest.raises(StagingError, match="still writes"):
                    open_partial(path, 3)
            else:
                take(3).close()
            return real(*arguments)

        monkeypatch.setattr(partial_module, step, delayed)
        with pytest.raises(FencedError):
            open_partial(path, 2)
        file = take(3)
        assert (file.size, names(path)) == (4 if there else 0, [".3.partial"])

    @pytest.mark.parametrize("step", ["_claim", "_open_locked", "_is_ours"])
    def test_an_earlier_attempt_seals_it(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        """It had a file of its own: both had found none."""
        path.parent.mkdir(parents=True)
        real = getattr(partial_module, step)

        def delayed(*arguments: object) -> object:
            monkeypatch.setattr(partial_module, step, real)
            path.write_bytes(b"sealed")
            return real(*arguments)

        monkeypatch.setattr(partial_module, step, delayed)
        assert open_partial(path, 2) is None
        assert names(path) == [""]
        assert path.read_bytes() == b"sealed"

    def test_an_earlier_attempt_found_none_either(
        self, path: Path, take: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each has a file of its own then: that of the earlier one goes, and it can't seal it any more."""
        real = partial_module._open_locked
        early: list[PartialArchive] = []

        def delayed(own: Path) -> int | None:
            monkeypatch.undo()
            os.rename(own, own.with_name("aside"))
            early.append(take(1))
            os.rename(own.with_name("aside"), own)
            return real(own)

        monkeypatch.setattr(partial_module, "_open_locked", delayed)
        assert take(2).size == 0
        assert names(path) == [".2.partial"]
        with pytest.raises(FencedError):
            early[0].seal()


class TestDurability:
    def test_a_checkpoint_asks_and_does_not_wait(self, take: Opener, later: Later) -> None:
        file = take(1)
        file.append(b"one")
        file.checkpoint()
        file.append(b" two")
        assert file.durable_bytes == 0
        later.work()
        assert file.durable_bytes == len(b"one two")

    def test_sealing_makes_all_of_it_durable_first(
        self, path: Path, take: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = take(1)
        calls = recorded(monkeypatch)
        file.append(b"data")
        file.seal()
        assert calls == ["fdatasync", "rename", "fsync"]
        assert file.durable_bytes == 4

    def test_taking_over_is_durable_before_anything_is_written(
        self, path: Path, take: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take(1).close()
        calls = recorded(monkeypatch)
        take(2)
        assert calls == ["rename", "fsync", "fdatasync"]

    def test_what_a_failed_sync_may_have_lost_is_cut_off(
        self, path: Path, take: Opener, later: Later, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It can still be read until the memory is needed for something else, and a second sync succeeds."""
        file = take(1)
        file.append(b"durable")
        file.checkpoint()
        later.work()
        file.append(b" lost")
        file.checkpoint()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(errno.EIO))
            later.work()
        calls: list[Callable[[], None]] = [lambda: file.append(b" more"), file.checkpoint, file.seal]
        for call in calls:
            with pytest.raises(StagingError, match="Input/output error"):
                call()
        file.close()
        assert partial_path(path, 1).read_bytes() == b"durable"
        assert take(2).size == len(b"durable")

    def test_also_when_nobody_asked_since(
        self, path: Path, take: Opener, later: Later, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = take(1)
        file.append(b"lost")
        file.checkpoint()
        monkeypatch.setattr(os, "fdatasync", failing(errno.EIO))
        later.work()
        file.close()
        assert partial_path(path, 1).read_bytes() == b""

    def test_what_an_earlier_attempt_could_not_make_durable_is_not_used(
        self, path: Path, take: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = take(1)
        first.append(b"lost")
        first.close()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(errno.EIO))
            second = take(2)
            with pytest.raises(StagingError):
                second.append(b"data")
            second.close()
        assert take(3).size == 0


class TestWriting:
    def test_a_short_write_is_continued(
        self, path: Path, take: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file, pwrite = take(1), os.pwrite
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data)[:3], at))
            file.append(b"0123456789")
        file.seal()
        assert path.read_bytes() == b"0123456789"

    def test_all_of_it_or_nothing(self, path: Path, take: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
        file, pwrite = take(1), os.pwrite
        file.append(b"one")

        def nearly_full(fd: int, data: bytes, at: int) -> int:
            return pwrite(fd, bytes(data)[:3], at) if at == 3 else failing(errno.ENOSPC)()

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", nearly_full)
            with pytest.raises(StagingError) as caught:
                file.append(b"0123456789")
        assert caught.value.facts["errno"] == errno.ENOSPC
        assert file.size == partial_path(path, 1).stat().st_size == 3
        file.append(b" two")
        file.seal()
        assert path.read_bytes() == b"one two"

    def test_what_is_cut_off_is_gone(self, path: Path, take: Opener, later: Later) -> None:
        file = take(1)
        file.append(b"one two")
        file.checkpoint()
        later.work()
        file.truncate(4)
        assert (file.size, file.durable_bytes) == (4, 4)
        file.append(b"three")
        file.seal()
        assert path.read_bytes() == b"one three"

    def test_a_reader_sees_what_is_there(self, take: Opener) -> None:
        file = take(1)
        file.append(b"data")
        reader = file.open_reader()
        file.append(b" more")
        assert (reader.size, reader.read_at(0, 100)) == (4, b"data")
        reader.close()

    def test_much_data_is_handed_to_the_disk_early(
        self, take: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(partial_module, "_WRITE_BACK_BYTES", 10)
        advised: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "posix_fadvise", lambda fd, at, size, _: advised.append((at, size)))
        file = take(1)
        for _ in range(4):
            file.append(b"123456")
        assert advised == [(0, 10), (10, 10)]


class TestSealing:
    def test_an_archive_is_never_replaced(self, path: Path, take: Opener) -> None:
        file = take(1)
        file.append(b"the second")
        path.write_bytes(b"the first")
        with pytest.raises(StagingError):
            file.seal()
        assert path.read_bytes() == b"the first"
        assert names(path) == ["", ".1.partial"]

    @pytest.mark.parametrize("call", ["fdatasync", "rename"])
    def test_what_fails_is_told_and_leaves_no_final_name(
        self, path: Path, take: Opener, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        file = take(1)
        file.append(b"data")
        monkeypatch.setattr(os, call, failing(errno.ENOSPC))
        with pytest.raises(StagingError, match="No space left on device") as caught:
            file.seal()
        assert caught.value.facts["errno"] == errno.ENOSPC
        assert caught.value.retryable
        assert names(path) == [".1.partial"]

    def test_a_name_that_is_not_durable_yet_is_not_reported(
        self, path: Path, take: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file is sealed then; the next attempt makes its name durable, and only then says so."""
        file = take(1)
        file.append(b"data")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(errno.EIO))
            with pytest.raises(StagingError) as caught:
                file.seal()
            assert caught.value.retryable
            with pytest.raises(StagingError):
                open_partial(path, 2)
        assert open_partial(path, 2) is None
        assert path.read_bytes() == b"data"

    def test_closing_is_repeatable_and_frees_the_lock(self, path: Path, take: Opener) -> None:
        file = take(1)
        file.close()
        file.close()
        fd = os.open(partial_path(path, 1), os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the calls that make something durable, as they are made from now on."""
    calls: list[str] = []

    def record(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object) -> object:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("fdatasync", "rename", "fsync"):
        record(name)
    return calls


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail
