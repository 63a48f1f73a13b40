"""What a run does about encryption before anything else: the keys that it takes are there; and that nothing
is encrypted is said, once."""

from __future__ import annotations

from ..keys_directory import was_said
from ..settings import Config
from ..structure_keys import keys_at, prepare
from .output import note


def prepare_encryption(config: Config) -> None:
    """Let archives of a staging area be encrypted as it is configured. Raises ConfigError, AccessError,
    StagingError."""
    files = config.encryption.recipients
    if not files:
        before = keys_at(config.staging.path).sealing
        if before is not None:
            names = ", ".join(recipient.name for recipient in before.recipients)
            note(
                f"archives were encrypted until now, for {names}, and are not any more: all mail is stored "
                "anew, in clear; if that is not meant, end this run, and see [encryption] recipients"
            )
        prepare(config.staging.path, config.staging.keys, ())
        return
    from ...proto.keys.recipients import read_recipient

    recipients = [read_recipient(file) for file in files]
    prepare(config.staging.path, config.staging.keys, recipients, erasable=config.encryption.erasable)


def say_once_what_is_in_clear(config: Config) -> None:
    """After a run into a staging area: that its archives are not encrypted, if that was not said before.
    Raises StagingError."""
    if not config.encryption.recipients and not was_said(config.staging.path):
        note(
            "archives are not encrypted: whoever has one can read the mail in it; recipients in "
            "[encryption] changes that (this is said once)"
        )


def say_that_stream_is_in_clear() -> None:
    """Each time: nobody knows where a stream goes."""
    note("this stream is not encrypted: whoever has it can read the mail in it (recipients in [encryption])")
