"""What people are told without looking: notices by mail, by a program, as webhook; the digest of each
morning; the switch that shows that nights go well.

Who has something to say raises a notice (``raising``); whether and when it is said is decided by pure rules
(``policy``), put on record in ``service.sqlite``, and carried out later, also by another process.
"""
