"""Mail servers that are written to over IMAP.

``target`` opens a mailbox, ``mailbox`` its folders, ``folder`` one of them. A message becomes an
``Outgoing``, ``present`` tells whether it is there, ``delivery`` sends it in batches with ``appending`` and
settles what the server answers, ``read_back`` finds what the server made of it. Below these, ``session`` goes
on after a connection is lost. imapclient is used by ``connection`` and ``fetching``. ``probe`` is apart
from all this: it looks how long users wait.
"""
