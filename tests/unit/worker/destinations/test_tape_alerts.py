"""The page of TapeAlert."""

from __future__ import annotations

from pathlib import Path

from mailhaul.worker.destinations.tape.alerts import WORN, decode_alerts, generic_device


def page(*flags: int) -> bytes:
    body = b"".join(n.to_bytes(2, "big") + b"\x00\x01" + bytes([n in flags]) for n in range(1, 65))
    return b"\x2e\x00" + len(body).to_bytes(2, "big") + body


def test_flags_are_told_by_their_names() -> None:
    assert decode_alerts(page()) == []
    assert decode_alerts(page(1, 7, 20)) == ["read warning", "media life", "clean now"]
    assert WORN & set(decode_alerts(page(7)))
    assert not WORN & set(decode_alerts(page(20)))


def test_another_or_a_short_page_tells_nothing() -> None:
    assert list(decode_alerts(b"")) == []
    assert list(decode_alerts(b"\x2f" + page(7)[1:])) == []
    assert list(decode_alerts(page(64)[:20])) == []


def test_a_drive_is_asked_by_its_other_device(tmp_path: Path) -> None:
    """Its own is open, and for one only."""
    (tmp_path / "classes/nst3/device/scsi_generic/sg7").mkdir(parents=True)
    link = tmp_path / "scsi-EXAMPLE-nst"
    link.symlink_to("/dev/nst3")
    assert generic_device(str(link), tmp_path / "classes") == "/dev/sg7"
    assert generic_device("/dev/nst4", tmp_path / "classes") is None
