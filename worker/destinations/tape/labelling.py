"""Who a volume is: its label is read, or written where nothing is lost by that."""

from __future__ import annotations

from collections.abc import Sequence

from ....proto.errors import AccessError, DamagedError, PlaceError
from ....proto.keys.sealed_files import SUFFIX
from .contents import LABEL_BYTES, Label, decode_label, encode_label
from .drive import Drive, Mark
from .headers import Kind, decode

Front = Sequence[tuple[str, bytes]]
"""Files that stand first on each volume, names and contents, for who has nothing but the volume."""


class ForeignVolumeError(PlaceError):
    """A volume that somebody else has written on, or one that nobody can read."""


def read_label(drive: Drive) -> Label | None:
    """The label of the volume in a drive; None if it is blank. Leaves the drive anywhere.

    Raises ForeignVolumeError where there is something else, or what is there can't be read: that is not
    taken for blank.
    """
    drive.rewind()
    try:
        record = drive.read_record()
    except DamagedError as error:
        if drive.is_blank():
            return None
        raise ForeignVolumeError(f"{drive.name}: its label can't be read: {error.message}") from error
    if not isinstance(record, bytes):
        if record is Mark.END and drive.is_blank():
            return None
        raise ForeignVolumeError(
            f"{drive.name}: the volume begins with no label, and is not known to be blank"
        )
    header = decode(record) if len(record) == LABEL_BYTES else None
    if header is None or header.kind is not Kind.LABEL:
        if drive.is_blank():
            return None
        raise ForeignVolumeError(f"{drive.name}: somebody else has written on this volume")
    return decode_label(header)


def write_label(drive: Drive, label: Label, front: Front, *, instead_of: str | None = None) -> int:
    """Label the volume in a drive and write what stands first on it; returns the block behind that.

    Only a blank volume, or the one whose UUID is ``instead_of``: all that is on it is gone then. Raises
    ForeignVolumeError, AccessError (write-protected).
    """
    if drive.status().write_protected:
        raise AccessError(f"{drive.name}: the volume is write-protected", label=label.label)
    found = read_label(drive)
    if (found.volume if found else None) != instead_of:
        known = f"it has the label {found.label!r} ({found.volume})" if found else "it is blank"
        raise ForeignVolumeError(f"{drive.name}: this is not the volume that was to be labelled: {known}")
    if found is not None and found.worm:
        raise ForeignVolumeError(f"{drive.name}: {found.label!r} can be written only once")
    drive.rewind()
    drive.write_record(encode_label(label))
    drive.write_filemark()
    block = 2
    for name, content in front:
        # Neither disturbs: text ends with empty lines; gzip, and who opens sealed files, passes over zeros.
        fill = b"\0" if name.endswith((".gz", SUFFIX)) else b"\n"
        block += _write_plain(drive, content, label.record_bytes, fill)
    if read_label(drive) != label:
        raise PlaceError(f"{drive.name}: the label that was written does not come back", label=label.label)
    return block


def _write_plain(drive: Drive, content: bytes, record_bytes: int, fill: bytes) -> int:
    """A file of its own, filled up to whole records; returns how many blocks it took."""
    offsets = range(0, max(1, len(content)), record_bytes)
    for offset in offsets:
        drive.write_record(content[offset : offset + record_bytes].ljust(record_bytes, fill))
    drive.write_filemark()
    return len(offsets) + 1
