"""Messages as they are shown: what is read of them, and that nothing of them can disturb or deceive."""

from __future__ import annotations

import time
import unicodedata
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from mailhaul.coordinator.showing.message import (
    MOST_ATTACHMENTS,
    attachment_of,
    shown_html,
    shown_message,
)
from mailhaul.coordinator.showing.mime import MOST_PARTS
from mailhaul.coordinator.showing.visible import on_one_line, plain_file_name, safe_file_name, visible

_PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)


def _letter() -> bytes:
    letter = EmailMessage()
    letter["From"] = "Jörg <joerg@example.org>"
    letter["To"] = "jane@example.org"
    letter["Subject"] = "Über Äpfel"
    letter["Date"] = "Tue, 17 Nov 2026 08:30:00 +0100"
    letter.set_content("Grüße\nans Meer")
    letter.add_alternative("<p>Grüße <img src='cid:apple'></p>", subtype="html")
    letter.get_payload()[1].add_related(_PNG, "image", "png", cid="<apple>")  # type: ignore[union-attr,index]
    letter.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="Äpfel.pdf")
    return letter.as_bytes()


def test_a_letter_is_read() -> None:
    shown = shown_message(_letter())
    assert shown.subject == "Über Äpfel"
    assert shown.sender == "Jörg <joerg@example.org>"
    assert shown.date == datetime(2026, 11, 17, 7, 30, tzinfo=UTC)
    assert shown.text == "Grüße\nans Meer"
    assert shown.has_html
    assert [(attachment.name, attachment.kind) for attachment in shown.attachments] == [
        ("part-3.png", "image/png"),
        ("Äpfel.pdf", "application/pdf"),
    ]
    assert shown.cut == ()
    assert attachment_of(_letter(), 4) == (shown.attachments[1], b"%PDF-1.4")
    assert attachment_of(_letter(), 5) is None


def test_its_pictures_come_with_its_html() -> None:
    shown = shown_html(_letter())
    assert shown is not None
    assert '<img src="data:image/png;base64,iVBORw0KGgo' in shown.document
    assert shown.pictures == 0


def test_html_alone_is_read_as_text() -> None:
    message = (
        b"Content-Type: text/html; charset=utf-8\n\n<head><title>no</title></head><p>one<br>two</p>"
        b"<script>no()</script><table><tr><td>a</td><td>b &amp; c</td></tr></table>"
    )
    assert shown_message(message).text == "one\ntwo\n\na b & c"


def test_html_beside_an_empty_text_is_read() -> None:
    message = (
        b"Content-Type: multipart/alternative; boundary=b\n\n--b\n\n \n--b\nContent-Type: text/html\n\n"
        b"<b>x</b>\n--b--\n"
    )
    assert shown_message(message).text == "x"


def test_text_after_the_plain_form_of_another_is_read_too() -> None:
    message = (
        b"Content-Type: multipart/mixed; boundary=m\n\n--m\n"
        b"Content-Type: multipart/alternative; boundary=a\n\n--a\n\nfirst\n--a\nContent-Type: text/html\n\n"
        b"<p>first</p>\n--a--\n--m\n\nfooter of the list\n--m--\n"
    )
    assert shown_message(message).text == "first\n\nfooter of the list"


def test_a_forwarded_message_is_attached_under_its_subject() -> None:
    message = (
        b"Content-Type: multipart/mixed; boundary=m\n\n--m\n\nsee\n--m\nContent-Type: message/rfc822\n\n"
        b"Subject: ../Offer\n\nbody\n--m--\n"
    )
    (attached,) = shown_message(message).attachments
    assert attached.name == "Offer.eml"
    assert attachment_of(message, 2) == (attached, b"Subject: ../Offer\n\nbody")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\n",
        b"\r\n\r\n",
        b"a",
        b"\0" * 100,
        b"\xff\xfe\n\n\xff",
        b": x\n\n",
        b"a:\n b",
        b"\r" * 50,
        b"--\n",
    ],
)
def test_what_is_no_message_is_shown_all_the_same(message: bytes) -> None:
    shown_message(message)
    shown_html(message)


def test_controls_and_turned_directions_are_not_shown_as_such() -> None:
    message = (
        "Subject: a\x1b[31mred\x07 \u202eexe.pdf\r\nFrom: x\u2066<a@b>\r\n\r\nbody \x1b]0;t\x07 \u202e\u2067 "
        "\u200fok\x9b"
    ).encode()
    shown = shown_message(message)
    assert shown.subject == "a␛[31mred␇ \ufffdexe.pdf"
    assert shown.sender == "x\ufffd<a@b>"
    assert shown.text == "body ␛]0;t␇ \ufffd\ufffd \u200fok\ufffd"
    for text in (shown.subject, shown.sender, shown.text, shown.header):
        assert not [char for char in text if unicodedata.category(char) == "Cc" and char not in "\n\t"]


def test_a_field_that_is_injected_into_an_encoded_subject_stays_in_it() -> None:
    message = b"Subject: =?utf-8?q?a=0D=0ABcc=3A_x=40y=0D=0A=0D=0A=3Cscript=3E?=\n\nbody"
    shown = shown_message(message)
    assert shown.subject == "a Bcc: x@y <script>"
    assert [name for name, _ in shown.fields] == ["Subject"]


def test_two_senders_are_both_shown() -> None:
    shown = shown_message(b"From: a@b\nFrom: c@d\n\n")
    assert shown.fields == (("From", "a@b"), ("From", "c@d"))


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "unicode_escape", "zip", "no-such", "a" * 500, "\\x"]
)
def test_charsets_that_no_mail_has_are_not_used(charset: str) -> None:
    body = b"caf\xc3\xa9 \\u0041-" + b"zzzz9" * 4000
    message = b'Content-Type: text/plain; charset="%s"\n\n%s' % (charset.encode(), body)
    started = time.thread_time()
    assert shown_message(message).text.startswith("café \\u0041-zzzz9")
    assert time.thread_time() - started < 2


@pytest.mark.parametrize(
    ("told", "safe"),
    [
        ("a.pdf", "a.pdf"),
        ("../../etc/passwd", "etc_passwd"),
        ("C:\\boot.ini", "C__boot.ini"),
        ("a\r\nSet-Cookie: x=1.txt", "a Set-Cookie_ x=1.txt"),
        ('a"; filename="b.exe', "a_; filename=_b.exe"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        (".bashrc", "bashrc"),
        ("..", "part"),
        ("\0\x01", "part"),
        ("con.txt", "_con.txt"),
        ("Äpfel\u0301.pdf", "Äpfeĺ.pdf"),
        ("a. . ", "a"),
        ("x\u200b\u00ad.txt", "x.txt"),
    ],
)
def test_names_of_files_are_safe(told: str, safe: str) -> None:
    assert safe_file_name(told, "part") == safe


def test_a_name_of_a_megabyte_is_cut_and_keeps_its_ending() -> None:
    name = safe_file_name("x" * (1 << 20) + ".pdf", "part")
    assert len(name) <= 120
    message = b'Content-Type: application/pdf; name="%s.pdf"\n\nx' % (b"x" * (1 << 20))
    (attached,) = shown_message(message).attachments
    assert len(attached.name) <= 120
    assert plain_file_name("Äpfel \u65e5\u672c.pdf") == "Apfel .pdf"
    assert plain_file_name("\u65e5\u672c") == "file"


def test_a_subject_of_a_megabyte_is_cut() -> None:
    shown = shown_message(b"Subject: " + b"x" * (1 << 20) + b"\n\n")
    assert len(shown.subject) <= 2001
    assert len(shown.header) <= 128 << 10


def test_texts_are_cut() -> None:
    assert visible("abc", 2) == "ab…"
    assert on_one_line("a\n\r\n b", 10) == "a b"
    shown = shown_message(b"\n" + b"x" * (3 << 20))
    assert len(shown.text) <= (256 << 10) + 1
    assert shown.cut == ("the text is longer than is shown",)


def _many_parts(count: int) -> bytes:
    part = b"--b\nContent-Type: application/pdf; name=a.pdf\n\nx\n"
    return b"Content-Type: multipart/mixed; boundary=b\n\n" + part * count + b"--b--\n"


def test_a_hundred_thousand_parts_are_bounded() -> None:
    started = time.thread_time()
    shown = shown_message(_many_parts(100_000))
    assert time.thread_time() - started < 5  # a twentieth of a second on a quiet machine
    assert len(shown.attachments) == MOST_ATTACHMENTS
    assert shown.cut == ("there are more parts than are shown",)
    assert attachment_of(_many_parts(100_000), MOST_PARTS) is not None
    assert attachment_of(_many_parts(100_000), MOST_PARTS + 1) is None


@pytest.mark.parametrize(
    "message",
    [
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(50_000)),
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--bx\n" * 1_000_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * 1_000_000,
        b"Content-Type: multipart/mixed" + b';a="' * 500_000 + b"\n\n",
        b"Subject: " + b"=?utf-8?q?" * 300_000 + b"\n\n",
        b"Subject: a\n" + b" x\n" * 1_000_000 + b"\n",
        b"a:b\n" * 1_000_000 + b"\n",
        b"x" * 4_000_000,
        b"\n" * 4_000_000,
        *(
            b"Content-Type: text/html\n\n" + piece * (500_000 // len(piece))
            for piece in (
                b"<", b"<a", b"<a ", b'<a "', b'<a b="', b"<!--", b"<!-- -", b"<script>", b"<p>",
                b"<title>", b"</", b"&", b"&#", b"<a b =", b'<img src="cid:x">',
                b"<table><font size=1>", b"<p style='a:b'>",
            )
        ),
    ],
    ids=lambda message: message[-40:-20].hex(),
)  # fmt: skip
def test_time_is_that_of_the_size(message: bytes) -> None:
    started = time.thread_time()
    shown_message(message)
    shown_html(message)
    assert (
        time.thread_time() - started < 15
    )  # of CPU; half a second at most as it is, hours for what is quadratic
