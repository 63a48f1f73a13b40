"""The tables of ``service.sqlite``. SQL only.

Times are ISO texts in UTC with microseconds, so that they sort; lists and facts are JSON. ``operations`` is
the queue and what became of it: ids are never given twice. ``handled`` is the newest moment of each entry of
the schedule for which an operation was put in, or which was passed over (why), and the newest of its full
backups that was put in. ``proofs`` is the newest result for
each mailbox that a drill took, with the time when it was ``proven`` last and the newest when it was among the
``largest``; ``drills`` are the drills themselves, ``begun`` is the mailbox that one is at, and ``deaths``
counts how often in a row one ended by force there; ``parts`` are those of mailboxes that are proven in
several nights. ``notices`` are what became of each cause that people hear of, ``sayings`` what is said of
them; ``said`` counts that for good; ``deliveries`` are still to be made, and ``channels`` tell how they went.
``space`` is how full places were, day by day (``free_bytes`` -1: nobody knows); ``nights`` are those that
were looked at, and whether the dead man's switch was worked after them. ``audit_end`` is how long the audit
log was when it was written last, and the hash of its last line.
"""

from __future__ import annotations

VERSION = 4
"""Kept in user_version. A change of the tables raises it."""

_BEGUN = """CREATE TABLE begun (
    partition TEXT NOT NULL,
    grp TEXT NOT NULL,
    user TEXT NOT NULL,
    drill INTEGER NOT NULL REFERENCES drills,
    began TEXT NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (partition, grp, user)) WITHOUT ROWID"""

_PARTS = """CREATE TABLE parts (
    partition TEXT NOT NULL,
    grp TEXT NOT NULL,
    user TEXT NOT NULL,
    folder TEXT NOT NULL,
    first BLOB NOT NULL,
    uidvalidity INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    tried TEXT,
    outcome TEXT NOT NULL CHECK (outcome IN ('proven', 'failed', 'untried')),
    proven TEXT,
    place TEXT NOT NULL,
    lacks TEXT NOT NULL,
    PRIMARY KEY (partition, grp, user, folder, first)) WITHOUT ROWID"""

_AUDIT_END = """CREATE TABLE audit_end (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size_bytes INTEGER NOT NULL,
    digest TEXT NOT NULL)"""

UPGRADES = {
    1: (
        "ALTER TABLE proofs ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0",
        _BEGUN,
        "PRAGMA user_version = 2",
    ),
    2: (
        "ALTER TABLE proofs ADD COLUMN parts INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE proofs ADD COLUMN parts_proven INTEGER NOT NULL DEFAULT 0",
        _PARTS,
        "PRAGMA user_version = 3",
    ),
    3: (_AUDIT_END, "PRAGMA user_version = 4"),
}
"""How the tables of an earlier version become those of the next one."""

TABLES = (
    """CREATE TABLE operations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        arguments TEXT NOT NULL,
        asked_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        asked TEXT NOT NULL,
        entry TEXT NOT NULL,
        due TEXT,
        state TEXT NOT NULL CHECK (state IN
            ('waiting', 'running', 'stopping', 'done', 'partial', 'failed', 'stopped', 'interrupted')),
        waits_for TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        carries TEXT NOT NULL DEFAULT '',
        resumes TEXT NOT NULL DEFAULT '',
        pid INTEGER NOT NULL DEFAULT 0,
        started TEXT,
        ended TEXT,
        exit_status INTEGER,
        error TEXT NOT NULL DEFAULT '',
        told INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX operations_by_state ON operations (state)",
    "CREATE INDEX operations_untold ON operations (id) WHERE ended IS NOT NULL AND NOT told",
    """CREATE TABLE handled (
        entry TEXT PRIMARY KEY,
        moment TEXT NOT NULL,
        full TEXT NOT NULL,
        passed_over TEXT NOT NULL DEFAULT '') WITHOUT ROWID""",
    """CREATE TABLE drills (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        seed INTEGER NOT NULL,
        started TEXT NOT NULL,
        ended TEXT,
        state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'interrupted')),
        proven INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        untried INTEGER NOT NULL DEFAULT 0,
        messages INTEGER NOT NULL DEFAULT 0,
        size_bytes INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '')""",
    """CREATE TABLE proofs (
        partition TEXT NOT NULL,
        grp TEXT NOT NULL,
        user TEXT NOT NULL,
        drill INTEGER NOT NULL REFERENCES drills,
        tried TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('proven', 'failed', 'untried')),
        proven TEXT,
        run TEXT NOT NULL,
        place TEXT NOT NULL,
        messages INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        alive INTEGER NOT NULL DEFAULT 0,
        gone INTEGER NOT NULL DEFAULT 0,
        altered INTEGER NOT NULL DEFAULT 0,
        lacks TEXT NOT NULL DEFAULT '[]',
        lacking INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '',
        largest TEXT,
        deaths INTEGER NOT NULL DEFAULT 0,
        parts INTEGER NOT NULL DEFAULT 0,
        parts_proven INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (partition, grp, user)) WITHOUT ROWID""",
    _BEGUN,
    _PARTS,
    "CREATE INDEX proofs_by_outcome ON proofs (outcome)",
    "CREATE INDEX proofs_by_group ON proofs (partition, grp, outcome, proven)",
    """CREATE TABLE notices (
        cause TEXT PRIMARY KEY,
        event TEXT NOT NULL,
        subject TEXT NOT NULL,
        lines TEXT NOT NULL,
        facts TEXT NOT NULL,
        first TEXT NOT NULL,
        last TEXT NOT NULL,
        times INTEGER NOT NULL,
        said TEXT,
        heard TEXT CHECK (heard IN ('so', 'over')),
        returns INTEGER NOT NULL,
        acknowledged TEXT,
        acknowledged_by TEXT NOT NULL,
        over TEXT) WITHOUT ROWID""",
    "CREATE INDEX notices_lasting ON notices (first) WHERE over IS NULL",
    """CREATE TABLE sayings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        cause TEXT NOT NULL,
        event TEXT NOT NULL,
        subject TEXT NOT NULL,
        lines TEXT NOT NULL,
        facts TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('new', 'again', 'over')),
        made TEXT NOT NULL,
        first TEXT NOT NULL,
        times INTEGER NOT NULL,
        addressed TEXT)""",
    "CREATE INDEX sayings_new ON sayings (id) WHERE addressed IS NULL",
    """CREATE TABLE said (
        event TEXT NOT NULL,
        kind TEXT NOT NULL,
        times INTEGER NOT NULL,
        PRIMARY KEY (event, kind)) WITHOUT ROWID""",
    """CREATE TABLE deliveries (
        saying INTEGER NOT NULL REFERENCES sayings,
        channel TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        retry TEXT,
        error TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (saying, channel)) WITHOUT ROWID""",
    """CREATE TABLE channels (
        name TEXT PRIMARY KEY,
        delivered INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        given_up INTEGER NOT NULL DEFAULT 0,
        last_delivered TEXT,
        failing_since TEXT,
        failed_in_row INTEGER NOT NULL DEFAULT 0,
        retry TEXT,
        error TEXT NOT NULL DEFAULT '') WITHOUT ROWID""",
    """CREATE TABLE space (
        place TEXT NOT NULL,
        day TEXT NOT NULL,
        used_bytes INTEGER NOT NULL,
        free_bytes INTEGER NOT NULL,
        PRIMARY KEY (place, day)) WITHOUT ROWID""",
    """CREATE TABLE nights (
        day TEXT PRIMARY KEY,
        good INTEGER NOT NULL,
        worked TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        retry TEXT,
        error TEXT NOT NULL DEFAULT '') WITHOUT ROWID""",
    _AUDIT_END,
    f"PRAGMA user_version = {VERSION}",
)
