"""``mailhaul drill``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_OK, EXIT_SKIPPED, ConfigError, UsageError
from ...proto.records import Progress, Skipped
from ...proto.structs import replace
from ..clock import utc
from ..drills.drill import Drilled, one_drill, run_drill
from ..drills.sample import Candidate
from ..drills.scratch import Scratch
from ..drills.settings import DrillConfig
from ..drills.sizes import sizes_of
from ..drills.telling import remedy, tell_of_ends, tell_people
from ..drills.trial import Bench, Sources, try_mailbox
from ..service.proofs import Proof
from ..settings import Config
from . import adapters, output
from .configuration import configured
from .nothing_to_do import is_nothing_to_do
from .options import DURATION, PATH, identity_options, json_option
from .output import counted, duration, note, number, say, shown, size
from .program import Invocation
from .progress import Amount, Display, make_display
from .restorers import open_restorers
from .sources import unlock_with


@click.command("drill")
@click.argument("paths", type=PATH, nargs=-1, metavar="[PATH]...")
@click.option(
    "--mailboxes", type=click.IntRange(1), metavar="N", help="So many mailboxes. Default: drill.mailboxes."
)
@click.option(
    "--time",
    "time_",
    type=DURATION,
    metavar="TIME",
    help="Begin with no mailbox after this time. Default: drill.time.",
)
@click.option(
    "--place",
    "destination",
    metavar="NAME",
    help="Read copies at this destination only. Default: at those of drill.places in turn.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**48),
    metavar="NUMBER",
    help="Chance as an earlier drill had it: its report tells the number.",
)
@identity_options
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    paths: tuple[LogicalPath, ...],
    mailboxes: int | None,
    time_: float | None,
    destination: str | None,
    seed: int | None,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Prove that restores work: really restore some mailboxes (of PATH) from their swept copies, and compare
    them with the backup, message by message, and with the mail store as far as it still has them.

    Mailboxes that failed or have been unproven for longest come first, others by chance. What was restored is
    removed again; `mailhaul proof` tells what was proven when.

    \b
    Example: each night, at most for an hour
      mailhaul drill --time 1h
    """
    config = configured(invocation)
    clock = adapters.clock()
    rules = _rules(config, mailboxes, time_)
    keys = identities or config.drill.identities
    passphrases = passphrase_files or (() if identities else config.drill.passphrase_files)
    unlock = unlock_with(keys, passphrases, at_hand=invocation.identity)
    places = _places(config, destination)
    staging = config.staging.path
    for path in paths:
        if path.folder is not None:
            raise UsageError(f"{path}: whole mailboxes are proven: name one, or a group", path=str(path))
    if is_nothing_to_do(staging, config.destinations, "to prove", as_json=as_json):
        return EXIT_OK
    with one_drill(staging), _bench(config) as bench, make_display(clock, as_json=as_json) as display:
        tell_of_ends(staging, utc(clock.now()))
        scratch = Scratch(rules.scratch or staging / ".mailhaul" / "drills", rules.reserve_bytes)
        sources = Sources(staging=staging, destinations=config.destinations, unlock=unlock)
        done = run_drill(
            staging,
            paths,
            rules,
            places,
            scratch,
            partial(try_mailbox, sources, bench),
            partial(sizes_of, sources),
            clock,
            _Watching(display),
            seed,
        )
        tell_people(staging, done, utc(clock.now()))
    _tell(done, places, as_json=as_json)
    if done.drill.failed:
        return EXIT_DAMAGED
    return EXIT_SKIPPED if done.away or done.waiting or done.drill.untried else EXIT_OK


def _rules(config: Config, mailboxes: int | None, seconds: float | None) -> DrillConfig:
    """What the configuration says, and options instead of it. Raises ConfigError."""
    rules = config.drill
    if rules.doveadm and rules.scratch is None:
        raise ConfigError(
            "drill.scratch is missing: with drill.doveadm expected a directory as far as which the owner of "
            "the mail gets, such as '/var/tmp/mailhaul-drills'",
            keys=["drill.scratch"],
        )
    if mailboxes is not None:
        rules = replace(rules, sample=replace(rules.sample, mailboxes=mailboxes))
    return rules if seconds is None else replace(rules, limit_seconds=seconds)


def _places(config: Config, place: str | None) -> list[str]:
    """The places that take turns. Raises UsageError."""
    known = [destination.name for destination in config.destinations]
    if place is None:
        return [one for one in known if not config.drill.places or one in config.drill.places]
    if place not in known:
        raise UsageError(f"there is no destination {place!r} in the configuration", place=place)
    return [place]


@contextmanager
def _bench(config: Config) -> Iterator[Bench]:
    """What trials work with. Mailboxes are restored on this host, one at a time."""
    with open_restorers(config, 1, minding=config) as (engine, access):
        far = access is not None
        yield Bench(
            here=adapters.make_engine(0),
            engine=adapters.make_engine(1) if far else engine,
            live=engine if far else None,
            access=access,
            stores={partition.name: partition for partition in config.partitions},
            load=config.load,
            doveadm=config.drill.doveadm,
        )


class _Watching:
    """Tells a display of each mailbox; see ``drill.Observer``."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def begin(self, sample: Sequence[Candidate]) -> None:
        self._display.begin(
            {
                str(LogicalPath(*candidate.mailbox)): Amount(candidate.messages, candidate.size_bytes)
                for candidate in sample
            }
        )

    def progress(self, mailbox: LogicalPath, told: Progress) -> None:
        self._display.progress(told._replace(unit=str(mailbox)))

    def end(self, mailbox: LogicalPath, proof: Proof) -> None:
        self._display.end(str(mailbox), Amount(proof.messages, proof.size_bytes))
        if proof.outcome == "failed":
            self._display.say(shown(f"{mailbox} can't be restored whole from {proof.place or 'its copies'}"))


def _tell(done: Drilled, places: Sequence[str], *, as_json: bool) -> None:
    drill = done.drill
    failed = [proof for proof in done.proofs if proof.outcome == "failed"]
    output.list_skipped([lack for one in failed for lack in one.lacks], "lacking")
    untried = [
        Skipped(str(LogicalPath(one.partition, one.group, one.user)), "untried", one.error)
        for one in done.proofs
        if one.outcome == "untried"
    ]
    output.list_skipped(untried, "not tried")
    for place, why in done.away.items():
        note(shown(f"{place} can't be read now: {why}"))
    if done.waiting:
        more = counted(done.waiting, "mailbox", "mailboxes")
        note(f"{more} more could not be tried, as their copies are away")
    for scope in dict.fromkeys((one.partition, one.group, one.place) for one in failed):
        note(shown(remedy(*scope)))
    staged = sum(one.place == "staging" for one in done.proofs)
    if staged and places:
        some = counted(staged, "mailbox", "mailboxes")
        note(f"{some} came from the staging area: no destination has all of them yet (`mailhaul sweep`)")
    elif staged:
        note("there are no destinations: what was proven is the staging area alone")
    if as_json:
        output.print_json({"drill": drill, "proofs": done.proofs, "away": done.away, "waiting": done.waiting})
        return
    seconds = (drill.ended - drill.started).total_seconds() if drill.ended else 0.0
    say(f"drill {drill.id} (seed {drill.seed}) in {duration(seconds)}")
    rows = (
        ("proven", number(drill.proven), "mailboxes"),
        ("failed", number(drill.failed), ""),
        ("not tried", number(drill.untried), ""),
        ("messages", number(drill.messages), size(drill.size_bytes)),
        ("live", number(sum(one.alive for one in done.proofs)), "compared with the mail store, too"),
        ("gone", number(sum(one.gone for one in done.proofs)), "removed from the mail store since"),
        ("altered", number(sum(one.altered for one in done.proofs)), "have other flags since"),
    )
    for title, value, remark in rows:
        say(f"  {title:<11} {value:>12}   {remark}".rstrip())
