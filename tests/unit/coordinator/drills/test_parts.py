"""A mailbox cut into parts: the same ones night after night, whatever mail comes and goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.drills.parts import Part, chosen, cut, lacking_in, noted, portion_of, proven_since
from mailhaul.coordinator.drills.sizes import FolderSizes, MailboxSizes
from mailhaul.coordinator.drills.trial import Trial
from mailhaul.coordinator.service.proofs import PartProof
from mailhaul.proto.records import RunId, Skipped
from mailhaul.proto.structs import replace

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RUN = RunId("20260301T010000Z-0000")
ROOM = 1 << 60


def key(uid: int) -> bytes:
    return b"%010d" % uid


def folder(name: str, uids: range, uidvalidity: int = 5, size: int = 100) -> FolderSizes:
    return FolderSizes(name=name, uidvalidity=uidvalidity, sizes=tuple((key(uid), size) for uid in uids))


def mailbox(*folders: FolderSizes) -> MailboxSizes:
    return MailboxSizes(run=RUN, folders=folders)


def proven(parts: list[Part], when: datetime = NOW) -> list[PartProof]:
    return noted(parts, parts, Trial(outcome="proven", run=RUN, place="vault"), when)


def bounds(parts: list[Part]) -> list[tuple[str, bytes, bytes, int]]:
    return [(one.proof.folder, one.proof.first, one.end, one.messages) for one in parts]


def test_folders_are_parts_and_large_ones_are_divided_with_room_to_grow() -> None:
    parts = cut(
        mailbox(folder("INBOX", range(1, 13)), folder("Sent", range(1, 4)), folder("Old", range(0))), (), 1000
    )
    assert bounds(parts) == [
        ("", b"", b"", 0),
        ("INBOX", b"", key(6), 5),
        ("INBOX", key(6), key(11), 5),
        ("INBOX", key(11), b"", 2),
        ("Sent", b"", b"", 3),
        ("Old", b"", b"", 0),
    ]


def test_the_same_parts_come_again_and_new_mail_in_small_amounts_does_not_matter() -> None:
    known = proven(cut(mailbox(folder("INBOX", range(1, 13))), (), 1000))
    parts = cut(mailbox(folder("INBOX", range(1, 15))), known, 1000)
    assert [one.proof for one in parts] == known
    grown = cut(mailbox(folder("INBOX", range(1, 16))), known, 1000)
    assert [one.proof.proven for one in grown] == [NOW, NOW, NOW, None]
    more = cut(mailbox(folder("INBOX", range(1, 23))), known, 1000)
    assert bounds(more)[3:] == [
        ("INBOX", key(11), key(16), 5),
        ("INBOX", key(16), key(21), 5),
        ("INBOX", key(21), b"", 2),
    ]
    assert [one.proof.proven for one in more] == [NOW, NOW, NOW, None, None, None]


def test_what_is_gone_is_no_part_any_more_and_what_remains_keeps_its_proof() -> None:
    first = cut(mailbox(folder("INBOX", range(1, 13)), folder("Sent", range(1, 4))), (), 1000)
    known = [replace(one, proven=NOW + number * DAY) for number, one in enumerate(proven(first))]
    parts = cut(mailbox(folder("INBOX", range(7, 13))), known, 1000)
    assert bounds(parts)[1:] == [("INBOX", b"", key(11), 4), ("INBOX", key(11), b"", 2)]
    assert [one.proof.proven for one in parts] == [known[0].proven, known[2].proven, known[3].proven]
    assert proven_since(one.proof for one in parts) == NOW


def test_another_uidvalidity_begins_anew_and_so_does_a_new_folder() -> None:
    known = proven(cut(mailbox(folder("INBOX", range(1, 13))), (), 1000))
    renewed = cut(mailbox(folder("INBOX", range(1, 13), 6)), known, 1000)
    assert [one.proof.proven for one in renewed] == [NOW, None, None, None]
    assert proven_since(one.proof for one in renewed) is None
    added = cut(mailbox(folder("INBOX", range(1, 13)), folder("New", range(1, 2))), known, 1000)
    assert [one.proof.proven for one in added] == [NOW, NOW, NOW, NOW, None]


def test_those_that_wait_are_chosen_as_far_as_there_is_room() -> None:
    parts = cut(mailbox(folder("INBOX", range(1, 13)), folder("Sent", range(1, 4))), (), 1000)
    first = chosen(parts, 1000, ROOM, lambda _: "vault", alone_bytes=1000)
    assert [(one.proof.folder, one.proof.first) for one in first] == [
        ("", b""),
        ("INBOX", b""),
        ("INBOX", key(6)),
    ]
    assert portion_of(first).files
    known = noted(parts, first, Trial(outcome="proven", run=RUN, place="vault"), NOW)
    parts = cut(mailbox(folder("INBOX", range(1, 13)), folder("Sent", range(1, 4))), known, 1000)
    second = chosen(parts, 600, ROOM, lambda _: "vault", alone_bytes=1000)
    assert [(one.proof.folder, one.proof.first) for one in second] == [
        ("INBOX", key(11)),
        ("Sent", b""),
        ("", b""),
    ]
    apart = chosen(parts, 1000, ROOM, lambda one: "ceph" if one.place else "vault", alone_bytes=1000)
    assert [one.proof.place for one in apart] == ["", ""]
    # Files of messages take more than bytes, and without any the files that are none prove nothing.
    assert chosen(parts, 1000, 1000, lambda _: "vault", alone_bytes=1000) == []


def test_a_message_that_is_too_large_to_be_tried_with_others_is_tried_by_itself() -> None:
    large = FolderSizes(name="INBOX", uidvalidity=5, sizes=((key(1), 400), (key(2), 1900), (key(3), 400)))
    known: list[PartProof] = []
    for night in range(3):
        parts = cut(mailbox(large), known, 1000)
        taken = chosen(parts, 1000, ROOM, lambda _: "vault", alone_bytes=2000)
        known = noted(parts, taken, Trial(outcome="proven", run=RUN, place="vault"), NOW + night * DAY)
    assert proven_since(known) is not None
    assert chosen(cut(mailbox(large), known, 1000), 1000, ROOM, lambda _: "vault", alone_bytes=1000)
    only = FolderSizes(name="INBOX", uidvalidity=5, sizes=((key(2), 1900),))
    assert chosen(cut(mailbox(only), (), 1000), 1000, ROOM, lambda _: "vault", alone_bytes=1000) == []


def test_what_is_lacking_is_of_the_part_that_it_is_in() -> None:
    parts = cut(mailbox(folder("INBOX", range(1, 4)), folder("Old/2024", range(1, 4))), (), 1000)
    message = Skipped("/p/g/u/INBOX/2", "missing")
    lost = Skipped("/p/g/u/Old/2024/", "missing")
    filter_file = Skipped("/p/g/u/subscriptions", "file")
    whole = Skipped("/p/g/u", "mailbox")
    assert lacking_in(parts, [message, lost, filter_file]) == [(filter_file,), (message,), (lost,)]
    assert lacking_in(parts, [whole]) == [(whole,)] * 3
    found = noted(parts, parts, Trial(outcome="failed", run=RUN, place="vault", lacks=(message,)), NOW)
    assert [(one.outcome, one.proven) for one in found] == [
        ("proven", NOW),
        ("failed", None),
        ("proven", NOW),
    ]


uids = st.sets(st.integers(1, 60), max_size=40)


@given(st.lists(st.tuples(uids, st.integers(1, 3)), min_size=1, max_size=5), st.integers(1, 12))
def test_each_message_is_in_one_part_whatever_came_before(
    nights: list[tuple[set[int], int]], most: int
) -> None:
    known: list[PartProof] = []
    for night, (there, uidvalidity) in enumerate(nights):
        inbox = FolderSizes(
            name="INBOX",
            uidvalidity=uidvalidity,
            sizes=tuple((key(uid), uid % 5 + 1) for uid in sorted(there)),
        )
        parts = cut(mailbox(inbox), known, most)
        for uid, _ in inbox.sizes:
            assert sum(one.run.holds(uid) for one in parts if one.proof.folder) == 1
        assert sum(one.size_bytes for one in parts) == sum(size for _, size in inbox.sizes)
        assert all(one.size_bytes <= most or one.messages == 1 for one in parts)
        assert cut(mailbox(inbox), [one.proof for one in parts], most) == parts
        known = proven(parts, NOW + night * DAY)
        assert [one.proof for one in cut(mailbox(inbox), known, most)] == known
