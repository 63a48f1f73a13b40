"""Keys that go with a restore: those of just its archives, of which each is read once."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest

from mailhaul.coordinator import unlocking
from mailhaul.coordinator.unlocking import (
    ReadSlots,
    refuse_locked,
    refuse_useless,
    refuse_without_vault,
    unlocked,
)
from mailhaul.proto.archive.files import LocalFile, RandomAccess
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.slots import read_keys
from mailhaul.proto.errors import EncryptedError
from mailhaul.proto.keys.identities import open_identity
from mailhaul.proto.keys.making import make_recipient
from mailhaul.proto.keys.records import NO_KEYS, Kem, Keyring, KeySlots, MailboxSlot, Slot
from mailhaul.proto.records import ArchiveId, Location
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import write_archive
from mailhaul.tests.sealed import SEALING, opened_keys
from mailhaul.worker.archives.holdings import Folder, Holdings

MAILBOXES = {"alice": {"INBOX": [b"h: 1\n\nmail"]}}
SEALED, CLEAR = ArchiveId(b"encrypted one..."), ArchiveId(b"one in clear....")


@pytest.fixture
def holdings(tmp_path: Path) -> Holdings:
    """Of an archive that is encrypted, and one that is not."""
    (tmp_path / "a").write_bytes(write_archive(MAILBOXES, archive=SEALED, sealing=SEALING))
    (tmp_path / "b").write_bytes(write_archive(MAILBOXES, archive=CLEAR))
    locations = {SEALED: (Location("here", "a"),), CLEAR: (Location("here", "b"),)}
    return Holdings(locations=locations, places=(Folder(name="here", path=str(tmp_path)),))


def unlock(slots: tuple[Slot, ...]) -> Keyring:
    return opened_keys(slots) if slots else NO_KEYS


def test_each_archive_is_read_once(holdings: Holdings) -> None:
    slots = ReadSlots()
    with patch.object(unlocking, "read_keys", wraps=read_keys) as read:
        several = [
            unlocked(holdings.of(those), unlock, slots) for those in ([SEALED, CLEAR], [SEALED], [CLEAR])
        ]
        refuse_locked(several, slots)
    assert read.call_count == 2
    assert [len(one.unlocked.contents) for one in several] == [1, 1, 0]


def test_who_could_open_it_is_told(holdings: Holdings) -> None:
    refuse_locked([holdings.of([CLEAR])], ReadSlots())
    with pytest.raises(EncryptedError, match="ops"):
        refuse_locked([holdings], ReadSlots())


def test_whose_key_was_given_is_said_where_it_does_not_open(holdings: Holdings, tmp_path: Path) -> None:
    make_recipient(tmp_path, "x", Kem.X25519, [None])
    unlock = unlocking.unlocking(open_identity([tmp_path / "x.secret"], lambda _: "", pytest.fail))
    slots = ReadSlots()
    keyed = unlocked(holdings, unlock, slots)
    with pytest.raises(EncryptedError, match=r"for ops.*private key that was given \(x\) does not open it"):
        refuse_locked([keyed], slots)
    file = LocalFile(str(tmp_path / "a"))
    with (
        closing(file),
        pytest.raises(EncryptedError, match=r"names and flags.*for ops.*that was given \(x\) does not open"),
    ):
        open_sealed(file, keys=keyed.keys)


def test_a_key_that_opens_nothing_is_refused_where_others_would_do(
    holdings: Holdings, tmp_path: Path
) -> None:
    make_recipient(tmp_path, "x", Kem.X25519, [None])
    wrong = unlocking.unlocking(open_identity([tmp_path / "x.secret"], lambda _: "", pytest.fail))
    slots = ReadSlots()
    with pytest.raises(EncryptedError, match=r"of 2 archives none.*for ops.*that was given \(x\)"):
        refuse_useless(unlocked(holdings, wrong, slots), slots)
    refuse_useless(unlocked(holdings.of([CLEAR]), wrong, slots), slots)
    refuse_useless(unlocked(holdings, unlock, slots), slots)


def test_what_can_not_be_read_yet_is_read_when_it_can(holdings: Holdings, tmp_path: Path) -> None:
    slots = ReadSlots()
    (tmp_path / "a").rename(tmp_path / "away")
    refuse_locked([unlocked(holdings, unlock, slots)], slots)
    (tmp_path / "away").rename(tmp_path / "a")
    with pytest.raises(EncryptedError):
        refuse_locked([holdings], slots)


def test_search_terms_that_were_copied_need_no_key(holdings: Holdings) -> None:
    slots = ReadSlots()

    def with_copied(file: RandomAccess) -> KeySlots:
        (own,) = read_keys(file).wrapped
        return KeySlots((own, replace(own, number=2, archive=CLEAR, content=bytes(16), wraps=())))

    with patch.object(unlocking, "read_keys", with_copied):
        refuse_locked([unlocked(holdings.of([SEALED]), lambda found: opened_keys(found[:1]), slots)], slots)


def test_a_vault_from_which_a_secret_was_destroyed_is_no_missing_vault(holdings: Holdings) -> None:
    slots = ReadSlots()

    def with_mailbox(file: RandomAccess) -> KeySlots:
        found = read_keys(file)
        return KeySlots(found.wrapped, (MailboxSlot(number=9, parent=1, secret=bytes(16)),))

    with patch.object(unlocking, "read_keys", with_mailbox):
        with pytest.raises(EncryptedError, match=r"vault of their secrets is missing: .*_vault/"):
            refuse_without_vault([holdings], slots)
    refuse_without_vault([replace(holdings, unlocked=Keyring(erased=frozenset([bytes(16)])))], slots)
    refuse_without_vault([holdings], ReadSlots())
