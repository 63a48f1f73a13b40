"""Any changes of a store between runs: each run gives back the store as it was then, whatever it started
from, and what has not changed is not read again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import messages as messages_module
from mailhaul.proto.ports import MailStore
from mailhaul.proto.records import BackupMode, Folder, Message, StoredFile
from mailhaul.proto.structs import replace
from mailhaul.tests.maildirs import file, message
from mailhaul.tests.memory_chains import Chain, Stored
from mailhaul.worker import folder_backup
from mailhaul.worker.stores.keywords import flags_of
from mailhaul.worker.stores.memory import Mail, MemoryFolder, MemoryMailbox, MemoryStore

USERS = ("anna", "bert")
FOLDERS = (b"", b".Sent", b".Trash")
_NOISE = random.Random(5).randbytes(4000)


class Churn:
    """A store, and what can happen to it. ``step`` picks by a number, so that hypothesis can shrink it."""

    def __init__(self) -> None:
        self.mail: Mail = {user: MemoryMailbox(place=user.encode()) for user in USERS}
        self._number = 0
        for mailbox in self.mail.values():
            self._make(mailbox, b"")

    @property
    def store(self) -> MailStore:
        return MemoryStore(self.mail)

    def step(self, rng: random.Random) -> None:
        mailbox = self.mail[rng.choice(USERS)]
        actions: list[Callable[[MemoryMailbox, random.Random], None]] = [
            self.deliver,
            self.deliver,
            self.deliver,
            self.flag,
            self.expunge,
            self.move,
            self.make_folder,
            self.drop_folder,
            self.rename_folder,
            self.count_anew,
            self.renumber,
            self.write_file,
            self.exchange,
        ]
        rng.choice(actions)(mailbox, rng)

    def deliver(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        folder = self._folder(mailbox, rng)
        if folder is None:
            return
        for _ in range(rng.choice([1, 1, 4])):
            self._number += 1
            size = rng.choice([0, 50, 600, 3000])
            content = b"Subject: %d\n\n" % self._number + _NOISE[: size + rng.choice([0, 1])]
            self._put(folder, self._message(b"%d.M1" % self._number, content, folder), content)

    def flag(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        folder = self._folder(mailbox, rng)
        if folder is not None and folder.messages:
            base = rng.choice(sorted(folder.messages))
            one, content = folder.messages[base]
            folder.messages[base] = replace(one, suffix=rng.choice([b":2,", b":2,S", b":2,FS"])), content

    def expunge(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        folder = self._folder(mailbox, rng)
        if folder is not None and folder.messages:
            del folder.messages[rng.choice(sorted(folder.messages))]

    def move(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        source, target = self._folder(mailbox, rng), self._folder(mailbox, rng)
        if source is None or target is None or not source.messages:
            return
        moved, content = source.messages.pop(rng.choice(sorted(source.messages)))
        self._put(target, replace(moved, uid=target.folder.uidnext), content)

    def make_folder(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        self._make(mailbox, rng.choice(FOLDERS))

    def drop_folder(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        mailbox.folders.pop(rng.choice(FOLDERS), None)

    def rename_folder(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        source, target = rng.sample(FOLDERS, 2)
        if source in mailbox.folders and target not in mailbox.folders:
            folder = mailbox.folders.pop(source)
            folder.folder = replace(folder.folder, name=_name(target), path=target)
            mailbox.folders[target] = folder

    def count_anew(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        folder = self._folder(mailbox, rng)
        if folder is not None:
            folder.folder = replace(folder.folder, uidvalidity=folder.folder.uidvalidity + 1)
            self.renumber(mailbox, rng)

    def renumber(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        folder = self._folder(mailbox, rng)
        if folder is not None:
            order = sorted(folder.messages)
            rng.shuffle(order)
            for uid, base in enumerate(order, rng.choice([1, 0, 100])):
                one, content = folder.messages[base]
                folder.messages[base] = replace(one, uid=uid), content

    def write_file(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        path, content = (
            rng.choice([b"subscriptions", b"sieve"]),
            rng.choice([b"", b"INBOX\n", b"keep;\n" * 90]),
        )
        if rng.random() < 0.2:
            mailbox.files.pop((False, path), None)
        else:
            mailbox.files[False, path] = file(path, content), content

    def exchange(self, mailbox: MemoryMailbox, rng: random.Random) -> None:
        """Another folder in the place of one, with other messages under the same names."""
        folder = self._folder(mailbox, rng)
        if folder is not None:
            other = MemoryFolder(replace(folder.folder, guid=f"{rng.random()}"))
            for base, (one, content) in folder.messages.items():
                content = content[::-1] if rng.random() < 0.5 else content
                date_ns = one.date_ns + (
                    1 if rng.random() < 0.5 or content != folder.messages[base][1] else 0
                )
                other.messages[base] = replace(one, date_ns=date_ns), content
            mailbox.folders[folder.folder.path] = other

    def _make(self, mailbox: MemoryMailbox, path: bytes) -> None:
        if path not in mailbox.folders:
            self._number += 1
            new = Folder(
                name=_name(path), path=path, uidvalidity=self._number, uidnext=1, guid=f"{self._number:032x}"
            )
            mailbox.folders[path] = MemoryFolder(new)

    def _folder(self, mailbox: MemoryMailbox, rng: random.Random) -> MemoryFolder | None:
        return mailbox.folders.get(rng.choice(FOLDERS))

    def _message(self, base: bytes, content: bytes, folder: MemoryFolder) -> Message:
        return message(base, content, suffix=b":2,", uid=folder.folder.uidnext, date_ns=10**18 + self._number)

    def _put(self, folder: MemoryFolder, one: Message, content: bytes) -> None:
        folder.messages[one.base] = one, content
        folder.folder = replace(folder.folder, uidnext=folder.folder.uidnext + 1)


def _name(path: bytes) -> str:
    return path[1:].decode() or "INBOX"


def as_stored(
    mailbox: MemoryMailbox,
) -> tuple[dict[bytes, Stored], dict[tuple[bool, bytes], tuple[StoredFile, bytes]]]:
    """A mailbox of the store as a chain gives it back."""
    folders: dict[bytes, Stored] = {}
    for path, folder in mailbox.folders.items():
        folders[path] = (
            folder.folder,
            {base: (_fields(one, content), content) for base, (one, content) in folder.messages.items()},
        )
    return folders, {key: (stored_file, content) for key, (stored_file, content) in mailbox.files.items()}


def _fields(one: Message, content: bytes) -> Message:
    """Of what a folder without a list of flags tells."""
    return replace(one, flags=flags_of(one.suffix), size=len(content), digest=b"", pieces=())


def check(chain: Chain, users: Mapping[str, tuple[dict[bytes, Stored], object]], moment: int) -> None:
    for user, (folders, files) in users.items():
        found = {
            path: (folder, {base: (replace(one, digest=b""), data) for base, (one, data) in messages.items()})
            for path, (folder, messages) in chain.mailbox(user, moment).items()
        }
        assert found == folders
        stored = {
            key: (replace(stored_file, digest=bytes(16)), data)
            for key, (stored_file, data) in chain.files(user, moment).items()
        }
        assert stored == files


@given(st.lists(st.lists(st.integers(0, 1 << 32), max_size=6), min_size=2, max_size=6), st.data())
def test_every_round_is_given_back(rounds: list[list[int]], data: st.DataObject) -> None:
    churn, chain = Churn(), Chain()
    as_it_was = []
    with (
        patch.object(messages_module, "MOST_MESSAGES", data.draw(st.sampled_from([3, 100]))),
        patch.object(folder_backup, "_SMALL_FRAME", data.draw(st.sampled_from([2, 100]))),
    ):
        for seeds in rounds:
            for seed in seeds:
                churn.step(random.Random(seed))
            mode = BackupMode(thorough=data.draw(st.booleans()), full=data.draw(st.integers(0, 5)) == 0)
            report = chain.run(churn.store, USERS, mode=mode)
            assert report.skipped == ()
            as_it_was.append({user: as_stored(churn.mail[user]) for user in USERS})
    for number, expected in enumerate(as_it_was):
        check(chain, expected, number)
