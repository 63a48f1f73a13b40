"""Load that minds the users: while work goes on, it is measured how long a user of the mail server waits,
and the work on its host slows down where that is too long.

``effort`` decides how much the work may do, and is pure; ``window`` says how long users waited lately."""
