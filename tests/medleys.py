"""Mail put together from what a scan of it looks for, and what is nearly that."""

from __future__ import annotations

WORDS = [
    *(b"\n", b"\r\n", b"\n\n", b"\n\r\n", b"\r", b" ", b"\t", b"\n ", b"\n\t", b"\v", b"\f", b"\0", b"\x7f"),
    *(b'"', b"\\", b"\\\\", b";", b"; ", b"=", b"-", b"--", b":", b" :", b"*", b"*0*", b"*1", b"/"),
    *(b"From", b"to", b"CC", b"Subject", b"message-ID", b"Date", b"\nTo:", b"\ncc: a", b"\nFrom: b"),
    *(b"Content-Type", b"content-disposition", b"\nContent-Type: ", b"\nCONTENT-DISPOSITION:attachment;"),
    *(b"name=", b"filename=", b"NAME=", b"nAme", b"file", b'; name="', b"; filename*=", b" filename*0*=a"),
    *(b"multipart/", b"Multipart/mixed; ", b"boundary=", b'BOUNDARY = "', b"boundary", b"oundary=x"),
    *(b"boundary=x", b'boundary="-"', b"--x", b"\n--x\n", b"\n--x--\n", b"--xx", b"\n-"),
    *(b"message/rfc822", b"essage/", b"message/global", b"\nContent-type:message/RFC822\n\n"),
    *(b"x", b"a.pdf", b"text " * 60, b"QUJD" * 19 + b"\n", b"n" * 255, b"n" * 1001, b"\n " * 199),
    *(b"--x\nContent-Type: multipart/mixed; boundary=x\n\n", b"--x\nContent-Type: message/rfc822\n\n"),
    *(b"name=a;" * 90, b'name="\\a' * 30, b" " * 16, b"\t" * 17),
]
PLAIN = b'From: a\nTo: b\nContent-Type: multipart/mixed; boundary="x"\n\n'
