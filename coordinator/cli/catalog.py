"""``mailhaul catalog``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_OK, EXIT_SKIPPED, UsageError
from ...worker.destinations.settings import Destination
from ..clock import utc
from ..fetching import Fetched, fetch
from ..rebuilding import rebuild_catalog
from ..recovered_keys import RecoveredKeys, recover
from ..settings import StagingConfig
from ..structure_keys import area_at, keys_in
from . import adapters, output
from .configuration import Site, chosen_site, configured
from .options import destination_option, identity_options, json_option, refuse, staging_option
from .output import counted, note, say
from .program import Invocation
from .sources import unlock_with


@click.group("catalog")
def command() -> None:
    """Maintain the catalog: the record of runs, archives and mailboxes in the staging area."""


@command.command("rebuild")
@staging_option
@destination_option
@click.option(
    "--from",
    "only",
    metavar="NAME",
    help="The staging area is lost: first bring back from this destination what that takes.",
)
@click.option(
    "--every-archive", is_flag=True, help="Read every archive, even if there is a snapshot of the catalog."
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="With --staging: the directory of keys (default: /etc/mailhaul/keys).",
)
@identity_options
@json_option
@click.pass_obj
def rebuild(
    invocation: Invocation,
    staging: Path | None,
    destinations: tuple[Destination, ...],
    only: str | None,
    every_archive: bool,
    keys: Path | None,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Rebuild the catalog from the archives in the staging area.

    If the catalog is missing, damaged, or older than the archives, the rebuild starts from the newest intact
    snapshot (_catalog/ in the staging area) and reads only the archives that the snapshot does not know.
    Otherwise, or with --every-archive, it reads them all.

    With --from the newest snapshot, the records of runs and an excerpt of each archive come from a
    destination first: all but the mail itself. After that nights, ls and restores work as before.

    Encrypted archives take the structure key of the staging area. If that was lost with its host, a private
    key (--identity) takes it out of the archives, and it is kept in the directory of keys from then on.

    The state of each run is restored from the archive that records its end (_runs/ in the staging area). A
    run without one, because it was killed, is shown as partial. Purged runs stay purged.

    While a run or a sweep goes on it is refused, with exit code 5.

    \b
    Example: the catalog was lost, the archives are there
      mailhaul catalog rebuild --staging /var/spool/mailhaul
    """
    site = chosen_site(invocation, staging, destinations)
    area = site.area
    refuse(keys is not None and staging is None, "--keys stands beside --staging: else keys in [staging]")
    configured_keys = (configured(invocation).staging if staging is None else StagingConfig(path=area)).keys
    directory = keys.absolute() if keys else configured_keys
    at_hand = area_at(area).keys.and_those(keys_in(directory))
    found = RecoveredKeys(unlock_with(identities, passphrase_files), at_hand)
    bring = _fetching(site, only, found)

    def bring_with_keys() -> Fetched:
        fetched = bring()
        for key in recover(area, directory, found):
            note(f"structure key {key.id.hex()} came out of the archives, and is kept in {directory} now")
        return fetched

    report = rebuild_catalog(
        area,
        every_archive=every_archive,
        fetch=bring_with_keys,
        destinations=[one.name for one in site.destinations],
    )
    if report.origin.endswith(".gz") and area_at(area).keys.structures:
        note(
            f"archives are encrypted, and {report.origin} is not sealed: whoever can write there may have "
            "made it; --every-archive does without"
        )
    output.list_skipped(report.damaged, "damaged")
    output.list_skipped(report.refused, "not entered")
    output.list_skipped(report.missing, "missing")
    for file in report.superseded:
        output.note(f"{output.shown(file)}: not entered: a newer generation of the archive is there")
    if as_json:
        output.print_json(
            {
                "staging": area,
                "archives": report.archives,
                "origin": report.origin,
                "refused": report.refused,
                "damaged": report.damaged,
                "missing": report.missing,
                "superseded": report.superseded,
            }
        )
    else:
        since = f", starting from {report.origin}" if report.origin else ""
        say(f"{counted(report.archives, 'archive')} entered into the catalog of {area}{since}")
    if report.damaged or report.missing:
        return EXIT_DAMAGED
    return EXIT_SKIPPED if report.refused else EXIT_OK


def _fetching(site: Site, name: str | None, keys: RecoveredKeys) -> Callable[[], Fetched]:
    """What brings the files of a destination; nothing without one. Raises UsageError."""
    if name is None:
        return Fetched
    for destination in site.destinations:
        if destination.name == name:
            return partial(fetch, site.area, destination, utc(adapters.clock().now()), keys=keys)
    raise UsageError(f"there is no destination {name!r} in the configuration", place=name)
