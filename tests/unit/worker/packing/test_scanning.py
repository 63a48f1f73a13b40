"""Terms: what a header and the parts of a message say, on one line and bounded; whatever the bytes are."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive.search import MOST_BYTES
from mailhaul.proto.records import Terms
from mailhaul.worker.packing import hot_path, scanning


def terms_of(window: bytes) -> Terms:
    """Its terms, which whatever runs here finds as pure Python does."""
    terms, parts = scanning.scan(window)
    found = hot_path.scan(window)
    assert found == (terms, parts)
    assert type(found[0]) is Terms
    return terms


PLAIN = b"""\
Received: from mx by store
From: Jane Doe <jane@example.org>
to: joe@example.org,
\tjim@example.org
CC: ann@example.org
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
  from here
Message-ID: <1@example.org>
Date: Tue, 17 Nov 2026 10:00:00 +0100

From: not@this.one
"""


def with_line_ends(message: bytes, end: bytes) -> bytes:
    return message.replace(b"\n", end)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_fields_of_a_header(end: bytes) -> None:
    assert terms_of(with_line_ends(PLAIN, end)) == Terms(
        sender=b"Jane Doe <jane@example.org>",
        recipients=b"joe@example.org, jim@example.org\0ann@example.org",
        subject=b"=?utf-8?q?Gr=C3=BC=C3=9Fe?= from here",
        message_id=b"<1@example.org>",
        date=b"Tue, 17 Nov 2026 10:00:00 +0100",
        attachments=b"",
    )


def test_the_first_line_counts_and_the_first_of_several() -> None:
    assert terms_of(b"Subject: one\nSubject: two\n\n").subject == b"one"


def test_a_header_without_an_end() -> None:
    assert terms_of(b"X: y\nSubject : hello").subject == b"hello"


def test_what_only_looks_like_a_field_is_none() -> None:
    message = (
        b"From jane Tue Nov 17\nX-Subject: no\nSubjects: no\nDate-Due: no\n Subject: folded\nTo: joe\n\n"
    )
    assert terms_of(message) == Terms(recipients=b"joe")


def test_controls_are_left_out_and_long_values_cut_off() -> None:
    terms = terms_of(b"From: a\0b\x1b[31m\x7f\tc\nSubject: " + b"x" * 5000 + b"\n\n")
    assert terms.sender == b"ab[31m c"
    assert terms.subject == b"x" * MOST_BYTES["subject"]


def test_recipients_stay_below_their_limit_together() -> None:
    terms = terms_of(b"".join(b"To: %050d@example.org\n" % n for n in range(100)) + b"\n")
    assert len(terms.recipients) <= MOST_BYTES["recipients"]
    assert terms.recipients.startswith(b"%050d@example.org\0%050d" % (0, 1))


def part(disposition: bytes, type_: bytes = b"application/pdf") -> bytes:
    return b"--=_b\nContent-Type: " + type_ + b"\n" + disposition + b"\n" + b"QUJD" * 100 + b"\n"


def multipart(*parts: bytes) -> bytes:
    head = b'Subject: files\nContent-Type: multipart/mixed;\n boundary="=_b"\n\npreamble\n'
    return head + b"".join(parts) + b"--=_b--\n"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b'Content-Disposition: attachment; filename="a; b.pdf"\n', b"a; b.pdf"),
        (b"Content-Disposition: attachment; filename=plain.pdf\n", b"plain.pdf"),
        (b'content-disposition: attachment;\n\tFILENAME="upper.pdf"\n', b"upper.pdf"),
        (b'Content-Disposition: attachment; filename="say \\"hi\\".pdf"\n', b'say "hi".pdf'),
        (
            b"Content-Disposition: attachment; filename=na.pdf; filename*=UTF-8''na%C3%AF.pdf\n",
            b"UTF-8''na%C3%AF.pdf",
        ),
        (
            b"Content-Disposition: attachment;\n filename*0*=UTF-8''na%C3;\n filename*1*=%AF.pdf\n",
            b"UTF-8''na%C3%AF.pdf",
        ),
        (b'Content-Disposition: attachment; filename="not ended\n', b"not ended"),
        (b'Content-Disposition: attachment; filename=""\n', b""),
        (b"Content-Disposition: attachment; username=jane\n", b""),
    ],
)
def test_the_name_of_an_attachment(disposition: bytes, name: bytes) -> None:
    assert terms_of(multipart(part(b""), part(disposition))).attachments == name


def test_names_of_several_attachments_each_once() -> None:
    disposition = b'Content-Disposition: attachment; filename="one.pdf"\n'
    message = multipart(
        part(disposition, b'application/pdf; name="one.pdf"'),
        part(b"", b"text/plain; name=two.txt"),
        part(b"", b"text/plain"),
    )
    assert terms_of(message).attachments == b"one.pdf\0two.txt"


def test_a_message_that_is_an_attachment() -> None:
    assert terms_of(b'Content-Type: application/pdf; name="only.pdf"\n\nname=no\n').attachments == b"only.pdf"


def test_names_in_bodies_are_no_attachments() -> None:
    body = b"text\nContent-Disposition: attachment; filename=no.pdf\n" * 20
    assert terms_of(multipart(b"--=_b\nContent-Type: text/plain\n\n" + body)).attachments == b""


@given(st.binary(max_size=300), st.sampled_from([b"", b"From: ", PLAIN, multipart(part(b""))[:-40]]))
def test_any_bytes_have_terms(data: bytes, before: bytes) -> None:
    terms = terms_of(before + data)
    assert all(len(getattr(terms, name)) <= most for name, most in MOST_BYTES.items())
    assert not any(byte < 32 and byte for value in terms for byte in value)


@pytest.mark.parametrize(
    "message",
    [
        b"Subject: " + b"\n " * 1_000_000,
        b"Subject:" + b" " * 2_000_000,
        b"\nFrom: x" * 300_000,
        b"From" + b"\t" * 2_000_000,
        b"Content-Disposition: a; " + b"name=" * 400_000 + b"\n\n",
        b"Content-Disposition: a; " + b'; name="\\' * 200_000 + b"\n\n",
        b"Content-Disposition: a" + b"; name*0" * 200_000 + b"\n\n",
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\nContent-Type: name=" * 80_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 300_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + b"Content-Type: x\n" * 100_000 + b"\n",
    ],
)
def test_no_message_takes_long(message: bytes) -> None:
    began = time.process_time()
    terms_of(message)
    assert time.process_time() - began < 0.5
