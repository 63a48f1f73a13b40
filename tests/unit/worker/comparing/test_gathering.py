"""In how many archives the metadata of a moment lies, how much is read for one message of it, and how large a
mailbox may be."""

from __future__ import annotations

import random

from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.records import ArchiveId, BackupMode, Folder
from mailhaul.tests.archives import MemoryFile
from mailhaul.tests.maildirs import file, message
from mailhaul.tests.memory_chains import Chain
from mailhaul.worker.comparing.gathering import MOST_ARCHIVES
from mailhaul.worker.stores.memory import Mail, MemoryFolder, MemoryMailbox, MemoryStore

USERS = tuple(f"user{number}" for number in range(6))
NIGHTS = 3 * MOST_ARCHIVES


def folder(path: bytes, *numbers: int) -> MemoryFolder:
    made = MemoryFolder(Folder(name=path.decode().strip(".") or "INBOX", path=path, uidnext=1))
    for number in numbers:
        deliver(made, number)
    return made


def deliver(into: MemoryFolder, number: int) -> None:
    base = b"%d.M1P1.mx" % number
    content = b"From: sender%d\nSubject: %d\n\n%d\n" % (number, number, number)
    into.messages[base] = message(base, content, uid=number), content


def mail_of(users: tuple[str, ...]) -> Mail:
    made: Mail = {}
    for first, user in enumerate(users):
        mailbox = made[user] = MemoryMailbox()
        for place, path in enumerate((b"", b".Sent", b".Trash")):
            start = 1 + 1000 * (3 * first + place)
            mailbox.folders[path] = folder(path, *range(start, start + 20))
    return made


def homes(chain: Chain) -> set[ArchiveId]:
    """The archives in which anything lies that tells of the newest moment."""
    found = set()
    for user, archive in chain.newest.items():
        entry = chain.reader(archive).entry(user)
        assert entry is not None
        found |= {entry.home.archive, *(archive_id for archive_id, _ in entry.rows)}
    return found


def test_the_metadata_of_a_moment_lies_in_few_archives_however_many_nights() -> None:
    rng, mail, chain = random.Random(8), mail_of(USERS), Chain()
    chain.run(MemoryStore(mail), USERS)
    first = len(chain.moments[0].data)
    for number in range(NIGHTS):
        for user in rng.sample(USERS, 2):
            into = rng.choice(list(mail[user].folders.values()))
            deliver(into, 100_000 + 10 * number + USERS.index(user))
            into.messages.pop(rng.choice(list(into.messages)))
        chain.run(MemoryStore(mail), USERS)
        assert len(homes(chain)) <= MOST_ARCHIVES
        for user in USERS if number % 12 == 11 else ():
            stored = {path: set(messages) for path, (_, messages) in chain.mailbox(user).items()}
            assert stored == {
                path: set(memory_folder.messages) for path, memory_folder in mail[user].folders.items()
            }
    assert len(chain.archives) == NIGHTS + 1
    # What was gathered now and then is not all of it, each night.
    assert sum(len(moment.data) for moment in chain.moments[1:]) < NIGHTS * first / 2


def test_a_full_and_a_self_contained_run_refer_to_nothing() -> None:
    for mode in (BackupMode(full=True), BackupMode(full=True, self_contained=True)):
        mail, chain = mail_of(USERS), Chain()
        chain.run(MemoryStore(mail), USERS)
        deliver(mail[USERS[0]].folders[b""], 999_999)
        chain.run(MemoryStore(mail), USERS)
        report = chain.run(MemoryStore(mail), USERS, mode=mode)
        assert report.archive is not None
        assert homes(chain) == {report.archive}
        if mode.self_contained:
            assert chain.reader(report.archive).directory.references == ()
            chain.archives = {report.archive: chain.archives[report.archive]}
            assert set(chain.mailbox(USERS[0])[b""][1]) == set(mail[USERS[0]].folders[b""].messages)


class Ranged(MemoryFile):
    """Counts its reads."""

    reads = 0

    def read_at(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return super().read_at(offset, length)


def test_one_message_takes_four_reads() -> None:
    paths = [b"", *(b".Folder%d" % number for number in range(150))]
    mailbox = MemoryMailbox(folders={path: folder(path) for path in paths})
    for number, memory_folder in enumerate(mailbox.folders.values()):
        for uid in range(1, 20):
            deliver(memory_folder, 20 * number + uid)
    chain = Chain()
    chain.run(MemoryStore({"anna": mailbox}), ("anna",))
    (data,) = chain.archives.values()
    file = Ranged(data)
    opened = open_sealed(file)

    def reader(_archive: ArchiveId) -> ArchiveReader:
        return opened

    stored = StoredMailbox(reader, opened.header.archive, "anna")
    wanted = next(entry for entry in stored.mailbox.folders if entry.folder.path == b".Folder75")
    uid = min(one.uid for one, _ in mailbox.folders[b".Folder75"].messages.values()) + 7
    (found,) = [one for one in stored.messages(wanted, uid) if one.uid == uid]
    content = b"".join(Contents(reader).message(found))
    assert content == mailbox.folders[b".Folder75"].messages[found.base][1]
    assert file.reads <= 4


def test_a_mailbox_of_twenty_thousand_folders() -> None:
    paths = [b"", *(b".F%d" % number for number in range(20_000))]
    mailbox = MemoryMailbox(folders={path: folder(path) for path in paths})
    chain = Chain()
    report = chain.run(MemoryStore({"anna": mailbox}), ("anna",))
    assert not report.skipped
    assert {path: one for path, (one, _) in chain.mailbox("anna").items()} == {
        path: memory_folder.folder for path, memory_folder in mailbox.folders.items()
    }


def test_a_mailbox_of_sixty_thousand_other_files() -> None:
    mailbox = MemoryMailbox(folders={b"": folder(b"", 1)})
    for number in range(60_000):
        mailbox.files[False, b"sieve/%d" % number] = file(b"sieve/%d" % number, b"keep;"), b"keep;"
    chain = Chain()
    report = chain.run(MemoryStore({"anna": mailbox}), ("anna",))
    assert not report.skipped
    stored = chain.files("anna")
    assert stored.keys() == mailbox.files.keys()
    assert {content for _, content in stored.values()} == {b"keep;"}
