"""What ``mailhaul restore`` was asked for, and what of it goes together."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

import click
from blake3 import blake3

from ...groups.paths import LogicalPath
from ...proto.errors import StagingError, UsageError
from ...proto.records import Partition, Renumbering, ServerAccess
from ...proto.structs import Record, replace
from ...worker.choice import Exactly, StateRules, folder_for
from ...worker.destinations.settings import Destination
from ...worker.stores.registry import keeps_places
from ..restores.ahead import checked_place
from .options import checked_folder, given, refuse
from .program import Invocation

_BESIDE_ONLY_DAMAGED = frozenset(
    {
        "only_damaged",
        "at",
        "place",
        "staging",
        "destinations",
        "wait",
        "workers",
        "identities",
        "passphrase_files",
        "as_json",
    }
)


GIVEN_FILES = ("map_file", "announcement", "ca_file", "only_damaged")
"""Parameters whose files an operation of the queue is given: read when it is asked for, and kept with it."""

NEWEST = "newest"
"""The one value of --order."""

_HEADER = re.compile(rb"[!-9;-~]+:")
_LONGEST_ANNOUNCEMENT = 65536

ARGUMENTS = "mailhaul.restore.arguments"
"""Where the words of a call are in the ``meta`` of its context."""

RENAMES = "mailhaul.restore.renames"
"""Where the digest of the map (``--map``) is there; empty: no map, or none that can be read twice."""


class RestoreCommand(click.Command):
    """Remembers the words it was called with: another process goes on with them. An operation of the queue
    takes the files that were kept when it was asked for, whatever lies there now."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See Command."""
        ctx.meta[ARGUMENTS] = tuple(args)
        left = super().parse_args(ctx, args)
        if (invocation := ctx.find_object(Invocation)) and invocation.operation:
            for name in GIVEN_FILES:
                if (named := ctx.params[name]) is None:
                    continue
                if file := invocation.operation.given(name):
                    ctx.params[name] = type(named)(file)
                elif name != "only_damaged":  # which may name something in the backup
                    raise StagingError(f"what was kept of {named} is gone: ask for this restore anew")
        ctx.meta[RENAMES] = _digest(ctx.params.get("map_file"))
        return left


def _digest(file: Path | None) -> str:
    with suppress(OSError):  # what is wrong with it is said where it is read
        if file is not None and file.is_file():
            return blake3(file.read_bytes()).hexdigest()
    return ""


class RestoreOptions(Record, kw_only=True):
    """The options of the command, by the names of their parameters."""

    paths: tuple[LogicalPath, ...]
    host: str | None
    at: str | None
    place: Partition | None
    password_file: str | None
    master: str | None
    ca_file: str | None
    sieve_runs_again: bool
    delivered: str | None
    verify: bool
    as_user: str | None
    map_file: Path | None
    into: str | None
    doveadm: str | None
    uid_margin: int | None
    new_uidvalidity: bool
    only_damaged: str | None
    provision_only: bool
    state_only: bool
    exact: bool
    flags: str
    only: str | None
    full_speed: bool
    wait: float
    workers: int | None
    order: str | None
    first_from: Path | None
    first: str | None
    announcement: Path | None
    resume: str | None
    retry: str | None
    undo: str | None
    dry_run: bool
    files: tuple[str, ...]
    staging: Path | None
    destinations: tuple[Destination, ...]
    identities: tuple[Path, ...]
    passphrase_files: tuple[Path, ...]
    as_json: bool

    @property
    def is_newest_first(self) -> bool:
        """Whether the newest mail of all comes back before older mail of anybody."""
        return self.order == NEWEST

    def read_announcement(self) -> bytes:
        """The message of --announce; empty where there is none. Raises UsageError."""
        if self.announcement is None:
            return b""
        try:
            content = self.announcement.read_bytes()
        except OSError as error:
            raise UsageError(f"--announce {self.announcement}: {error.strerror}") from error
        refuse(
            not _HEADER.match(content) or len(content) > _LONGEST_ANNOUNCEMENT,
            f"--announce {self.announcement}: no message of at most {_LONGEST_ANNOUNCEMENT} bytes that "
            "begins with its header (From, To, Subject, Date)",
        )
        return content

    @property
    def doveadm_words(self) -> tuple[str, ...]:
        """The words of --doveadm, as a shell would take it. Raises UsageError."""
        try:
            words = tuple(shlex.split(self.doveadm or ""))
        except ValueError as error:
            raise UsageError(f"--doveadm {self.doveadm}: {error}") from error
        refuse(self.doveadm is not None and not words, "--doveadm: no command")
        return words

    @property
    def state_rules(self) -> StateRules | None:
        """How state is restored, if nothing else is."""
        return StateRules(exact=self.flags == "exact", dry_run=self.dry_run) if self.state_only else None

    def exactly(self, day: str) -> Exactly | None:
        """How mailboxes become just as they were, if they do; what is set aside is called by the ``day``."""
        return Exactly(aside=folder_for(day), dry_run=self.dry_run) if self.exact else None

    def target(self, partition: Partition) -> Partition:
        """A target with what is said of its server and its numbers."""
        margin = partition.renumbering.uid_margin if self.uid_margin is None else self.uid_margin
        renumbering = Renumbering(
            uid_margin=margin,
            new_uidvalidity=self.new_uidvalidity,
            reserves=self.provision_only or self.is_newest_first,
        )
        return replace(partition, doveadm=self.doveadm_words or partition.doveadm, renumbering=renumbering)


def refuse_beside_only_damaged(context: click.Context) -> None:
    """Raises UsageError for what does not go with --only-damaged."""
    refuse(
        not given(context) <= _BESIDE_ONLY_DAMAGED,
        "--only-damaged says what is restored, in place: beside it only --at, --to (where the mail store "
        "is), --staging, --destination, --wait, --workers, --identity, --passphrase-file and --json; "
        "`mailhaul check` only looks",
    )


def checked(asked: RestoreOptions) -> RestoreOptions:
    """The options, with the folder as a logical path names it and with the login to a mail server. Raises
    UsageError where they contradict each other."""
    asked = replace(asked, into=checked_folder(asked.into))
    refuse(
        asked.as_user is not None and asked.map_file is not None,
        "--as and --map both say whose mailbox it becomes: leave out one",
    )
    if asked.provision_only:
        _refuse_beside_provision_only(asked)
    if asked.state_only:
        _refuse_beside_state_only(asked)
    if asked.exact:
        _refuse_beside_exact(asked)
    refuse(asked.flags != "merge" and not asked.state_only, "--flags says how --state-only restores: add it")
    if asked.is_newest_first:
        _refuse_beside_newest(asked)
    if asked.first_from is not None:
        refuse(not asked.is_newest_first, "--first-from is for --order newest")
        asked = replace(asked, first_from=checked_place(asked.first_from))
    refuse(asked.announcement is not None and not asked.is_newest_first, "--announce is for --order newest")
    asked.read_announcement()
    if asked.place is not None and asked.place.format == "lmtp":
        return replace(asked, place=_with_record(asked, asked.place))
    refuse(
        bool(asked.sieve_runs_again or asked.delivered),
        "--sieve-runs-again and --delivered are for --to lmtp://HOST",
    )
    if asked.place is not None and asked.place.format == "imap":
        return replace(asked, place=_with_login(asked, asked.place))
    refuse(
        bool(asked.password_file or asked.master or asked.ca_file or asked.verify),
        "--password-file, --master, --ca-file and --verify are for --to imap://HOST",
    )
    return asked


def _refuse_beside_provision_only(asked: RestoreOptions) -> None:
    refuse(
        bool(asked.into) or (asked.place is not None and not keeps_places(asked.place)),
        "--provision-only is for --to maildir:DIR, or none, and without --into",
    )
    refuse(
        asked.new_uidvalidity,
        "--provision-only with --new-uidvalidity: a later restore could not tell that these folders were "
        "made for it",
    )
    _refuse_messages(asked, "--provision-only makes folders")


def _refuse_beside_state_only(asked: RestoreOptions) -> None:
    refuse(
        bool(asked.into or asked.map_file) or asked.provision_only or asked.new_uidvalidity,
        "--state-only changes messages where they are: leave out --into, --map, --provision-only and "
        "--new-uidvalidity",
    )
    _refuse_elsewhere(asked, "--state-only")


def _refuse_beside_exact(asked: RestoreOptions) -> None:
    refuse(
        bool(asked.into or asked.map_file) or asked.provision_only or asked.state_only,
        "--exact changes mailboxes where they are: leave out --into, --map, --provision-only and "
        "--state-only",
    )
    _refuse_elsewhere(asked, "--exact")
    _refuse_messages(asked, "--exact is for mailboxes and folders")


def _refuse_beside_newest(asked: RestoreOptions) -> None:
    refuse(
        bool(asked.into) or (asked.place is not None and not keeps_places(asked.place)),
        "--order newest is for --to maildir:DIR, or none, and without --into: elsewhere the server gives new "
        "UIDs, and older mail would get higher ones",
    )
    refuse(asked.provision_only, "--order newest begins with what --provision-only does: leave out one")
    refuse(asked.state_only, "--order newest is for mail, and --state-only restores none: leave out one")
    refuse(asked.exact, "--order newest and --exact are two ways to restore: leave out one")
    refuse(
        asked.new_uidvalidity,
        "--order newest with --new-uidvalidity: mail that follows could not tell that these folders were "
        "made for it",
    )
    _refuse_messages(asked, "--order newest is for mailboxes and folders")


def _refuse_messages(asked: RestoreOptions, why: str) -> None:
    for path in asked.paths:
        refuse(path.uid is not None or path.name is not None, f"{why}, and {path} is a message")


def _refuse_elsewhere(asked: RestoreOptions, option: str) -> None:
    refuse(
        asked.place is not None and not keeps_places(asked.place),
        f"{option} is for --to maildir:DIR, where the mail store is, or none",
    )


def _with_login(asked: RestoreOptions, server: Partition) -> Partition:
    refuse(asked.password_file is None, f"--to {server.path} needs --password-file FILE")
    refuse(
        bool(asked.doveadm or asked.uid_margin is not None or asked.new_uidvalidity),
        "over IMAP the server gives the numbers: leave out --doveadm, --uid-margin and --new-uidvalidity",
    )
    access = ServerAccess(
        password_file=os.path.abspath(asked.password_file or ""),
        master=asked.master or "",
        verify=asked.verify,
        ca_file=os.path.abspath(asked.ca_file) if asked.ca_file else "",
    )
    return replace(server, access=access)


def _with_record(asked: RestoreOptions, server: Partition) -> Partition:
    refuse(
        not asked.sieve_runs_again,
        f"--to {server.path} delivers all mail as if it came now: the filters of users (Sieve) run again, "
        "and vacation answers, forwards and notifications go out to third persons; flags, keywords, dates "
        "and folders are lost. --to imap://HOST does none of that; who wants it all the same says "
        "--sieve-runs-again",
    )
    refuse(
        asked.delivered is None,
        f"--to {server.path} needs --delivered DIR, where it is written down what was delivered: the server "
        "can't be asked, and nothing is to be delivered twice",
    )
    refuse(
        bool(asked.into or asked.doveadm or asked.uid_margin is not None or asked.new_uidvalidity),
        "what is delivered has no folder and no number of ours: leave out --into, --doveadm, --uid-margin "
        "and --new-uidvalidity",
    )
    refuse(
        bool(asked.password_file or asked.master or asked.ca_file or asked.verify),
        "--password-file, --master, --ca-file and --verify are for --to imap://HOST",
    )
    return replace(server, access=ServerAccess(delivered=os.path.abspath(asked.delivered or "")))
