"""``mailhaul keys recipient paper``."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...proto.errors import EXIT_OK
from ...proto.keys.identities import PrivateKey
from ...proto.keys.new_files import write_new
from ...proto.keys.paper import paper_text
from ...proto.keys.recipients import KIND_NAMES, fingerprint
from ...proto.keys.secret_files import Secret, read_secret
from .identities import passphrases
from .output import note, say

if TYPE_CHECKING:
    import segno

_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 12pt sans-serif; margin: 2cm }} pre {{ font: 14pt monospace }}
svg {{ width: 9cm; height: 9cm }}
</style></head><body>
<h1>{title}</h1>
<p>{kind}, {fingerprint}</p>
<p><b>Whoever has this page can read the mail in every backup that is encrypted for it.</b> Without the key
nobody can. Keep it where a fire in the machine room does not reach it, and no stranger does.</p>
<pre>{text}</pre>
<p>To use it, type these lines into a file (case and blanks mean nothing), or read the code below with a
scanner that is connected to no network; the file is what <code>--identity</code> takes. A wrong letter is
reported with its line.</p>
{code}
</body></html>
"""


@click.command("paper")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--passphrase-file", type=click.Path(path_type=Path), metavar="FILE", help="Its first line.")
@click.option("--qr", is_flag=True, help="A QR code below the text, as comments.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="PAGE",
    help="Write a page to print, with a QR code, instead (mode 0600; nothing is overwritten).",
)
def command(file: Path, passphrase_file: Path | None, qr: bool, page: Path | None) -> int:
    """Print the private key in FILE, a NAME.secret or a share, as text that can be typed: without a
    passphrase, as nobody may know it any more when the key is needed.

    Each line has a checksum, by which a typing error is found. --identity takes a file with the typed text.

    \b
    Example: to the printer, and nowhere else
      mailhaul keys recipient paper /media/stick/ops.secret | lp
    """
    stored = read_secret(file)
    files = [passphrase_file] if passphrase_file else []
    secret = stored.open(passphrases([file], files)(file) if stored.cost else None)
    if secret.share is None:
        PrivateKey(secret)  # what is printed is the key of its recipient, or nothing is
    text = paper_text(secret)
    if page is not None:
        write_new(page, _html(secret, text).encode("utf-8", "surrogateescape"), 0o600)
        note(f"{page} holds the private key as it is")
        say(f"wrote {page}; print it, then remove it: it opens everything")
        return EXIT_OK
    say(f"# {_title(secret)}: {KIND_NAMES[secret.kem]}, {fingerprint(secret.recipient)}")
    say("# Whoever has this can open every archive that is encrypted for it.")
    say(text.rstrip("\n"))
    if qr:
        drawn = io.StringIO()
        _code(text).terminal(drawn, compact=True, border=2)
        for line in drawn.getvalue().splitlines():
            say(f"# {line}")
    return EXIT_OK


def _title(secret: Secret) -> str:
    share = secret.share
    which = f", share {share.number} of {share.count} ({share.threshold} are needed)" if share else ""
    return f"mailhaul: private key of {secret.name}{which}"


def _html(secret: Secret, text: str) -> str:
    return _PAGE.format(
        title=html.escape(_title(secret)),
        kind=KIND_NAMES[secret.kem],
        fingerprint=fingerprint(secret.recipient),
        text=html.escape(text),
        code=_code(text).svg_inline(scale=4, omitsize=True),
    )


def _code(text: str) -> segno.QRCode:
    import segno  # nothing else wants it

    return segno.make_qr(text, error="m")
