"""HTML of mail, written anew: what is allowed stays, nothing else gets through, all is ended."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.showing.hypertext import written_anew
from mailhaul.coordinator.showing.nesting import names

_HARMLESS = names(
    "align alt bgcolor border cellpadding cellspacing color cols colspan dir face height hspace lang noshade "
    "nowrap rows rowspan size span start style title type valign value vspace width"
)
_EVIL = names("script style link meta base form input iframe svg object")


def _body(source: str, picture: str | None = None) -> str:
    document = written_anew(source, lambda _: picture).document
    return document.partition("<body>\n")[2].removesuffix("\n</body></html>\n")


class _Read(HTMLParser):
    """What a reader of HTML makes of it."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("br", "col", "hr", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _check_harmless(source: str) -> None:
    read = _Read(_body(source, "data:image/png;base64,AA=="))
    assert not read.open
    for tag, name, value in read.attributes:
        if (tag, name) == ("img", "src"):
            assert value.startswith("data:image/")
            continue
        assert name in _HARMLESS
        assert name != "style" or not re.search(r"url|import|expression|\\|<|@", value, re.IGNORECASE)
    assert not read.names & {
        "script",
        "style",
        "link",
        "meta",
        "base",
        "form",
        "input",
        "iframe",
        "svg",
        "object",
    }


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("<p>a</p>", "<p>a</p>"),
        ("a < b & c &lt;script&gt;", "a &lt; b &amp; c &lt;script&gt;"),
        ("<script>alert(1)</script>b", "b"),
        ("<SCRIPT src=//x></SCRIPT >b", "b"),
        ("<script>never ended", ""),
        ("<img src=http://x/y onerror=alert(1) alt='a b'>", "<span>[a b]</span>"),
        ("<img src=cid:a width=3>", '<img src="data:image/png;base64,AA==" width="3">'),
        ("<a href='javascript:alert(1)' onclick=x()>y</a>", '<a title="javascript:alert(1)">y</a>'),
        ("<base href=http://x/><meta http-equiv=refresh content='0;url=http://x'>b", "b"),
        ("<link rel=preconnect href=http://x><link rel=stylesheet href=http://x>b", "b"),
        ("<form action=http://x><input name=a autofocus onfocus=x()><button>go</button></form>", "go"),
        ("<svg><a xlink:href=x><script>x</script></a></svg>b", "b"),
        ("<math><mtext><style><img src=x onerror=y></style></mtext></math>b", "b"),
        ("<iframe srcdoc='<script>x</script>'></iframe>b", "b"),
        ("<p style='color:red;background:url(http://x);width:3px'>b", '<p style="color:red;width:3px">b</p>'),
        ("<p style='background:\\75rl(http://x)'>b", "<p>b</p>"),
        ("<p style='color:rgb(1, 2, 3)'>b", '<p style="color:rgb(1, 2, 3)">b</p>'),
        ("<body background=http://x><table background=x><tr><td>b", "<table><tr><td>b</td></tr></table>"),
        ("<!-- <p> --><![CDATA[x]]><?php y ?>b", "b"),
        ("<!-- never ended>b", "b"),
        ("<p title='\"><script>x</script>'>b", "<p>b</p>"),
        ("<b><p>x</b>y</p>", "<b><p>x</p></b>y"),
        ("<p>a<p>b<li>c<li>d", "<p>a</p><p>b</p><li>c</li><li>d</li>"),
        ("<table>x<b>y<tr>z", "<table><tr><td>x<b>y</b></td></tr><tr><td>z</td></tr></table>"),
        ("</div></table></body>b", "b"),
        ("<td>b", "b"),
        ("<p\x00onclick=x>b", "&lt;p␀onclick=x&gt;b"),
        ("<noscript><p title='</noscript><img onerror=y>'></noscript>b", "<span>[picture]</span>&#x27;&gt;b"),
    ],
)  # fmt: skip
def test_what_comes_out(source: str, written: str) -> None:
    picture = "data:image/png;base64,AA=="
    assert _body(source, picture) == written
    _check_harmless(source)


def test_pictures_from_elsewhere_are_counted() -> None:
    assert (
        written_anew("<img src=//x><img src=cid:a><img src=data:image/svg+xml,x>", lambda _: None).pictures
        == 3
    )


def test_a_long_source_is_cut() -> None:
    assert not written_anew("x" * (2 << 20), lambda _: None).whole


_PIECES = (
    "< > </ <p <b <table <tr <td <font <li <a <img <svg <script </script </p </b </table <!-- --> <![ ' \" = "
    "/ href src=cid:x style='color:red' style='x:url(y)' onclick=x title=' \\ &lt; &#60; &quot; x \n"
)


@given(st.lists(st.sampled_from(_PIECES.split(" ")), max_size=60).map("".join))
def test_nothing_else_gets_through_whatever_the_source(source: str) -> None:
    _check_harmless(source)
