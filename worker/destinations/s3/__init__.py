"""Object storage that speaks S3, as a place where archives lie.

``place.py`` is the port, put together of the bucket in our words (``bucket.py``), how a file gets there
(``putting.py``, ``parts.py``, ``uploads.py``), how long it can't be removed (``retention.py``), and how it is
read (``reading.py``, ``thawing.py``). All requests go through ``connection.py``; ``answers.py`` knows what a
server may answer. What a server can do is found out once (``probing.py``) and kept (``dialect.py``).
"""
