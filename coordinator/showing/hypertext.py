"""HTML of mail, written anew from what is allowed: structure, looks, pictures that the message brings along.

Nothing of the source is copied: a tag comes out as a known name with known attributes whose values were
looked at, everything else as escaped text. So it does not matter whether a browser would have read the source
as this module does. What is left has no scripts, no links, no forms, and nothing that is loaded. (The page
shows it in a sandbox and under a policy that forbid all that once more.)

One pass; each character is looked at a fixed number of times.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

from ...proto.structs import Record
from .nesting import Nesting, names
from .visible import on_one_line, visible

MOST_BYTES = 1 << 20
"""So much of the source is looked at."""

_LONGEST_ATTRIBUTE = 2000
_LONGEST_PICTURE = 8 << 20

# A tag by its name; the comment or declaration; anything else after "<" is text.
_TAG = re.compile(r"<(?:(/?)([A-Za-z][A-Za-z0-9]{0,20})(?=[\s/>])|!--|[!?/])")
_ATTRIBUTE = re.compile(
    r"[\s/]*+([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>\"'][^\s>]*+)?))?+"
)
_TAG_END = re.compile(r"[\s/]*+>")

# What is in these is no text, to their end tag.
_SILENT = names(
    "script style title template noscript noembed noframes iframe object applet svg math audio video "
    "canvas select textarea xmp plaintext head"
)
_SILENT_END = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in _SILENT}

_ALLOWED = names(
    "a abbr address article aside b bdi big blockquote br caption center cite code col colgroup dd del "
    "details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd "
    "li main mark ol p pre q s samp section small span strike strong sub summary sup table tbody td "
    "tfoot th thead tr tt u ul var wbr"
)
_EMPTY = names("br col hr img wbr")
_LOOKS = names(
    "align alt bgcolor border cellpadding cellspacing color cols colspan dir face height hspace lang "
    "noshade nowrap rows rowspan size span start title type valign value vspace width"
)
_VALUE = re.compile(r"[\w #%.,:;+()'!?/@&*=$-]*", re.UNICODE)
_BREAKS = names(
    "address article blockquote br center dd div dl dt figure footer h1 h2 h3 h4 h5 h6 header hr li "
    "main ol p pre section table tr ul"
)

# A declaration of CSS without functions, other than of colours: what loads something is one. No escapes.
_DECLARATION = re.compile(
    r"\s*+([a-z-]{2,40})\s*+:\s*+((?:(?:rgb|hsl)a?\([0-9 ,.%/]{1,60}\)|[a-z0-9 #%.,!'\"+/-]){1,300}+)\s*+",
    re.IGNORECASE,
)
_UNSEEN_PROPERTIES = frozenset(("behavior", "-moz-binding", "content", "cursor", "filter", "src"))

_PICTURE = re.compile(r"data:image/(?:png|jpeg|jpg|gif|webp);base64,[A-Za-z0-9+/=\s]+")


class Hypertext(Record):
    """A document of its own, ready to be shown; ``pictures`` were told to come from elsewhere and are left
    out; ``whole`` is whether all of the source was looked at."""

    document: str
    pictures: int
    whole: bool


_HEAD = (
    '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>Message</title><style>'
    "html{background:#fff;color:#000}body{margin:1em;font-family:sans-serif;overflow-wrap:anywhere}"
    "img{max-width:100%}table{max-width:100%}a{text-decoration:underline}"
    "</style></head><body>\n"
)
_FOOT = "\n</body></html>\n"


def written_anew(source: str, picture: Callable[[str], str | None]) -> Hypertext:
    """The document that HTML of mail becomes. ``picture`` gives the data: URL for what ``cid:`` names, if the
    message brings that along."""
    whole = len(source) <= MOST_BYTES
    writer = _Writer(picture)
    body = "".join(map(writer.written, _tokens(source[:MOST_BYTES])))
    return Hypertext(f"{_HEAD}{body}{writer.end()}{_FOOT}", writer.left_out, whole)


def text_of(source: str) -> str:
    """What HTML says, as text: for who wants to read and not to look."""
    pieces: list[str] = []
    for token in _tokens(source[:MOST_BYTES]):
        if not token.name:
            pieces.append(_SPACES.sub(" ", token.text))
        elif token.name in _BREAKS:
            pieces.append("\n")
        elif token.name in ("td", "th"):
            pieces.append(" ")
        elif token.name == "img" and (told := token.attribute("alt")):
            pieces.append(f"[{_SPACES.sub(' ', told)}]")
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return _GAPS.sub("\n\n", "\n".join(lines)).strip()


_SPACES = re.compile(r"\s+")
_GAPS = re.compile(r"\n{3,}")


class _Token(Record):
    """A piece of text (without a ``name``), or a tag."""

    text: str = ""
    name: str = ""
    closes: bool = False
    attributes: tuple[tuple[str, str], ...] = ()

    def attribute(self, name: str) -> str:
        """Its value; empty if it has none."""
        return next((value for key, value in self.attributes if key == name), "")


def _tokens(source: str) -> Iterator[_Token]:
    """Text and tags, without what is neither: comments, declarations, what is in scripts and the like."""
    at, begin = 0, 0
    comments = source.rfind("-->")
    while (at := source.find("<", at)) >= 0:
        tag = _TAG.match(source, at)
        if tag is None:
            at += 1
            continue
        if at > begin:
            yield _Token(text=html.unescape(source[begin:at]))
        name = (tag[2] or "").lower()
        if not name:
            begin = at = _past_other(source, at, comments)
            continue
        attributes, at = _attributes(source, tag.end())
        if name in _SILENT and not tag[1]:
            # Of a head that is not ended the body would be lost.
            end = _SILENT_END[name].search(source, at)
            at = end.start() if end is not None else (at if name == "head" else len(source))
        elif name not in _SILENT:
            yield _Token(name=name, closes=bool(tag[1]), attributes=attributes)
        begin = at
    if begin < len(source):
        yield _Token(text=html.unescape(source[begin:]))


def _past_other(source: str, at: int, comments: int) -> int:
    """The end of a comment, a declaration, an instruction or a broken end tag. A comment behind the last
    place where ``comments`` end would hide all that follows: then it ends with its tag."""
    ending = "-->" if source.startswith("<!--", at) and at < comments else ">"
    found = source.find(ending, at + 2)
    return found + len(ending) if found >= 0 else len(source)


def _attributes(source: str, at: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """The attributes of a tag, and where it ends; a tag that is not ended goes to the end of all."""
    found: list[tuple[str, str]] = []
    while (end := _TAG_END.match(source, at)) is None:
        said = _ATTRIBUTE.match(source, at)
        if said is None:
            if at >= len(source):
                return (), len(source)
            at += 1
            continue
        value = next((group for group in said.groups()[1:] if group is not None), "")
        if len(found) < 100:
            found.append((said[1].lower(), value))
        at = said.end()
    return tuple(found), end.end()


class _Writer:
    """Writes tokens as HTML, and counts pictures that are left out."""

    def __init__(self, picture: Callable[[str], str | None]) -> None:
        self.left_out = 0
        self._picture = picture
        self._nesting = Nesting()

    def written(self, token: _Token) -> str:
        """A token as HTML, after what has to be ended or begun first; empty for a tag that is not allowed."""
        name = token.name
        if not name:
            cell = self._nesting.text() if token.text.strip() else ""
            return cell + html.escape(visible(token.text, len(token.text)))
        if name not in _ALLOWED:
            return ""
        if token.closes:
            return self._nesting.closes(name)
        before = self._nesting.empty(name) if name in _EMPTY else self._nesting.opens(name)
        if before is None:
            return ""
        if name == "img":
            return before + self._image(token)
        return f"{before}<{name}{''.join(self._looks(token))}>"

    def end(self) -> str:
        """What is still open is ended."""
        return self._nesting.end()

    def _image(self, token: _Token) -> str:
        source = html.unescape(token.attribute("src")).strip()
        shown: str | None = None
        if source[:4].lower() == "cid:":
            shown = self._picture(source[4:][:1000])
        elif len(source) <= _LONGEST_PICTURE and _PICTURE.fullmatch(source):
            shown = "".join(source.split())
        if shown is None:
            self.left_out += 1
            told = on_one_line(html.unescape(token.attribute("alt")), 200)
            return f"<span>[{html.escape(told) or 'picture'}]</span>"
        return f'<img src="{html.escape(shown)}"{"".join(self._looks(token))}>'

    def _looks(self, token: _Token) -> Iterator[str]:
        seen: set[str] = set()
        for name, raw in token.attributes:
            if name in seen:
                continue
            seen.add(name)
            value = html.unescape(raw[:_LONGEST_ATTRIBUTE])
            if name == "style":
                if style := _style(value):
                    yield f' style="{html.escape(style)}"'
            elif name == "href" and token.name == "a":
                # Where it would lead is told, not followed.
                yield f' title="{html.escape(on_one_line(value, 500))}"'
                seen.add("title")
            elif name in _LOOKS and _VALUE.fullmatch(value):
                yield f' {name}="{html.escape(value)}"'


def _style(value: str) -> str:
    """The declarations of a style that load nothing."""
    kept = []
    for declaration in value.split(";"):
        said = _DECLARATION.fullmatch(declaration)
        if said is not None and said[1].lower() not in _UNSEEN_PROPERTIES and said[2].count('"') % 2 == 0:
            kept.append(f"{said[1].lower()}:{said[2].strip()}")
    return ";".join(kept)
