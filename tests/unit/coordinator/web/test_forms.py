"""What forms send: fields and small files, whatever else claims to be a form."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.web.forms import Form
from mailhaul.proto.errors import UsageError

KIND = "multipart/form-data; boundary=----WebKitFormBoundary7MA4"
SENT = (
    b"------WebKitFormBoundary7MA4\r\n"
    b'Content-Disposition: form-data; name="form_token"\r\n\r\nabc\r\n'
    b"------WebKitFormBoundary7MA4\r\n"
    b'Content-Disposition: form-data; name="file"; filename="b%22; name=form_token.secret"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
    b"{\r\n 1\r\n\r\n\r\n"
    b"------WebKitFormBoundary7MA4\r\n"
    b'Content-Disposition: form-data; name="passphrase"\r\n\r\nna\xc3\xafve; x="y"\r\n'
    b"------WebKitFormBoundary7MA4--\r\n"
)


def test_fields_and_a_file_are_read_as_they_were_sent() -> None:
    form = Form.parse(SENT, KIND)
    assert form.get("form_token") == "abc"
    assert form.get("file") == "{\r\n 1\r\n\r\n"
    assert form.get("file_name") == "b%22"  # nothing within it is a parameter of its own
    assert form.get("passphrase") == 'na\u00efve; x="y"'
    assert Form.parse(b"a=1&a=2", "application/x-www-form-urlencoded").all("a") == ["1", "2"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (SENT, "multipart/form-data"),
        (SENT[:-4], KIND),
        (SENT[:60], KIND),
        (b"", KIND),
        (SENT * 12, KIND),
        (SENT.replace(b"Content-Disposition", b"Content-Description"), KIND),
        (SENT, "multipart/form-data; boundary=" + "x" * 71),
        (SENT, "multipart/form-data; " + "x" * 60_000),
        (SENT.replace(b'"form_token"', b"x" * 900_000), KIND),
    ],
)
def test_what_is_no_form_is_refused_at_once(body: bytes, kind: str) -> None:
    began = time.process_time()
    with pytest.raises(UsageError, match="can't be read"):
        Form.parse(body, kind)
    assert time.process_time() - began < 2


@given(st.binary(max_size=300), st.integers(0, len(SENT)), st.integers(0, len(SENT)))
def test_whatever_is_sent_is_read_or_refused(data: bytes, at: int, to: int) -> None:
    for body in (data, SENT[:at] + data + SENT[to:]):
        with suppress(UsageError):
            Form.parse(body, KIND)
