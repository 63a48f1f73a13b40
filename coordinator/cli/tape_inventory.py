"""``mailhaul tape inventory``."""

from __future__ import annotations

import click

from ...proto.errors import EXIT_FAILED, EXIT_OK
from ...worker.destinations.tape.stocktaking import Stock, take_stock
from . import output
from .options import json_option
from .output import note, say, shown
from .program import Invocation
from .tape_volumes import document, state, tape_of


@click.command("inventory")
@click.argument("name")
@json_option
@click.pass_obj
def command(invocation: Invocation, name: str, as_json: bool) -> int:
    """Load every volume that is in reach of the destination NAME, and record who it is and what is on it.

    This is how volumes become known again, or known here, when all there is are the tapes.

    \b
    Example:
      mailhaul tape inventory drive
    """
    found = []
    with tape_of(invocation, name) as tape:
        for stock in take_stock(iter(tape.library.cartridges()), tape.mounts, tape.inventory):
            found.append(stock)
            if not as_json:
                _tell(stock)
    if as_json:
        output.print_json({"found": [_document(one) for one in found]})
    return EXIT_FAILED if any(one.problem for one in found) else EXIT_OK


def _tell(stock: Stock) -> None:
    where = f"{stock.cartridge.where} ({stock.cartridge.tag or 'no bar code'})"
    if stock.problem:
        note(shown(f"{where}: {stock.problem}"))
    elif stock.known is None:
        say(shown(f"{where}: blank"))
    else:
        label, entries = stock.known.label, stock.known.contents.entries
        say(
            shown(
                f"{where}: {label.label} of pool {label.pool}, {state(stock.known)}, {len(entries)} archives"
            )
        )


def _document(stock: Stock) -> dict[str, object]:
    cartridge = stock.cartridge
    return {
        "where": cartridge.where,
        "tag": cartridge.tag,
        "volume": document(stock.known, cartridge.where) if stock.known else None,
        "problem": stock.problem,
    }
