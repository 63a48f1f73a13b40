"""Templates, and what they can say: every value is escaped unless a template says it is markup."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ... import __version__
from ...proto.plain_text import shown
from ...proto.records import RunId
from ...proto.structs import Record
from .. import texts
from ..people.roles import Role, Who
from ..run_ids import started_of
from ..showing.visible import on_one_line

_HERE = Path(__file__).parent
STATIC = _HERE / "static"


class Entry(Record):
    """A page in the menu, and who may see it."""

    title: str
    path: str
    allows: tuple[Role, ...]


class Renderer:
    """Makes pages from templates. For any thread."""

    def __init__(self, menu: Sequence[Entry]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(
            size=texts.size,
            number=texts.number,
            duration=texts.duration,
            shown=shown,
            counted=texts.counted,
            moment=_moment,
            line=_line,
            of_run=_of_run,
        )
        versions = {file.name: _version(file) for file in STATIC.iterdir()}

        def static(name: str) -> str:
            return f"/static/{name}?v={versions[name]}"

        def menu_of(who: Who | None) -> list[Entry]:
            return [entry for entry in menu if who is not None and who.role in entry.allows]

        self._environment.globals.update(static=static, menu_of=menu_of, version=__version__)

    def rendered(self, template: str, values: Mapping[str, object]) -> str:
        """The text of a page."""
        return self._environment.get_template(template).render(values)


def _of_run(run: str) -> Markup:
    """When a run began, as its id tells, for people."""
    return _moment(started_of(RunId(run)))


def _line(text: str) -> str:
    """A text of a stranger (a subject, a name) on one line, without what would disturb or deceive."""
    return on_one_line(text, 300)


def _version(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def _moment(when: datetime | None) -> Markup:
    """A time for people, to the minute, with the whole of it for programs and when pointed at."""
    if when is None:
        return Markup("-")
    at = when.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        texts.moment(at), at.strftime("%A, %Y-%m-%d %H:%M:%S UTC"), at.strftime("%Y-%m-%d %H:%M")
    )
