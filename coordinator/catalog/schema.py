"""The catalog's tables. SQL only; what is asked of them is in ``queries``.

Runs are numbered by their ids, in the same order, so that "at or before" is a comparison of integers.
A scope is a (partition, group), a mailbox a user in a scope, a version what one run made of it: either it was
stored, or it had ``departed`` (the reason); then the row hides the mailbox from that run on. A version holds
until the next one of its mailbox.

An archive that others refer to and that is not at hand has a row without a unit; ``missing`` tells it, and
any other of which no copy is left; ``encrypted`` is NULL where a catalog of schema 6 did not tell it.
``locations`` are the copies, by place; ``discarded`` those that nobody
needs and that their places have yet to remove. ``purged`` are the ids of archives that were dropped, as
nobody needed them. ``lost`` is what was damaged of the data of archives, ``lost_frames`` of their metadata,
by positions. ``forgotten`` are the runs that can't be restored from any
more, by scope. ``present`` are the mailboxes that are there, as of the newest run over their group: ``since``
is the first run that was to store one, ``good`` the newest that stored it whole, ``reason`` why the newest
did not. ``plan`` is the journal of a run: what a unit consists of, until it is sealed; ``unplanned`` what no
unit of the run holds though it was asked for. Texts may hold the raw bytes of file names, which are not
always UTF-8; so they are bound as bytes and CAST.
"""

VERSION = 7
"""Kept in user_version. A change of the tables raises it."""

UPGRADES = {6: ("ALTER TABLE archives ADD COLUMN encrypted INTEGER", "PRAGMA user_version = 7")}
"""How the tables of an earlier version become those of the next one, where nothing has to be read again."""

VIEWS = {6: ("CREATE TEMP VIEW archives AS SELECT *, NULL AS encrypted FROM main.archives",)}
"""How a reader, who writes nothing, sees the tables of an earlier version as those of this one: what is
temporary comes before what is in the file."""

TABLES = (
    """CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        run TEXT NOT NULL UNIQUE,
        started TEXT NOT NULL,
        ended TEXT,
        state TEXT NOT NULL CHECK (state IN ('running', 'done', 'partial', 'failed', 'interrupted')),
        paths TEXT NOT NULL,
        options TEXT NOT NULL,
        narrowed INTEGER NOT NULL,
        mode TEXT NOT NULL,
        stores TEXT NOT NULL DEFAULT '[]',
        error TEXT NOT NULL,
        resumed INTEGER NOT NULL DEFAULT 0,
        unplanned TEXT NOT NULL DEFAULT '{}',
        skipped INTEGER NOT NULL DEFAULT 0,
        excluded INTEGER NOT NULL DEFAULT 0,
        alarms TEXT NOT NULL DEFAULT '[]')""",
    """CREATE TABLE scopes (
        number INTEGER PRIMARY KEY,
        partition TEXT NOT NULL,
        grp TEXT NOT NULL,
        UNIQUE (partition, grp))""",
    """CREATE TABLE units (
        number INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs,
        scope INTEGER NOT NULL REFERENCES scopes,
        shard INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'planned'
            CHECK (state IN ('planned', 'sealed', 'unchanged', 'failed')),
        plan TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '',
        mailboxes INTEGER NOT NULL DEFAULT 0,
        departed INTEGER NOT NULL DEFAULT 0,
        skipped INTEGER NOT NULL DEFAULT 0,
        excluded INTEGER NOT NULL DEFAULT 0,
        messages INTEGER NOT NULL DEFAULT 0,
        read INTEGER NOT NULL DEFAULT 0,
        added INTEGER NOT NULL DEFAULT 0,
        vanished INTEGER NOT NULL DEFAULT 0,
        size_bytes INTEGER NOT NULL DEFAULT 0,
        new_bytes INTEGER NOT NULL DEFAULT 0,
        archive_bytes INTEGER NOT NULL DEFAULT 0,
        seconds REAL NOT NULL DEFAULT 0,
        cpu_seconds REAL NOT NULL DEFAULT 0,
        peak_memory_bytes INTEGER NOT NULL DEFAULT 0,
        ended TEXT,
        UNIQUE (run, scope, shard))""",
    "CREATE INDEX units_of_scope ON units (scope, run, state)",
    """CREATE TABLE archives (
        number INTEGER PRIMARY KEY,
        archive BLOB NOT NULL UNIQUE,
        unit INTEGER UNIQUE REFERENCES units,
        name TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        generation INTEGER NOT NULL DEFAULT 0,
        missing INTEGER NOT NULL DEFAULT 0,
        sealed TEXT,
        encrypted INTEGER)""",
    "CREATE INDEX archives_missing ON archives (missing) WHERE missing",
    """CREATE TABLE locations (
        archive INTEGER NOT NULL REFERENCES archives,
        place TEXT NOT NULL,
        version TEXT NOT NULL,
        name TEXT NOT NULL,
        generation INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        checksum BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('copied', 'kept', 'lost')),
        copied TEXT,
        verified TEXT,
        checked TEXT,
        locked_until TEXT,
        PRIMARY KEY (archive, place, name, version)) WITHOUT ROWID""",
    "CREATE INDEX locations_by_place ON locations (place, state)",
    """CREATE TABLE discarded (
        place TEXT NOT NULL,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        locked_until TEXT,
        PRIMARY KEY (place, name, version)) WITHOUT ROWID""",
    "CREATE TABLE purged (archive BLOB PRIMARY KEY) WITHOUT ROWID",
    """CREATE TABLE refs (
        archive INTEGER NOT NULL REFERENCES archives,
        other INTEGER NOT NULL REFERENCES archives,
        PRIMARY KEY (archive, other)) WITHOUT ROWID""",
    "CREATE INDEX refs_to ON refs (other)",
    """CREATE TABLE holes (
        archive INTEGER NOT NULL REFERENCES archives,
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL,
        PRIMARY KEY (archive, offset)) WITHOUT ROWID""",
    """CREATE TABLE lost (
        archive INTEGER NOT NULL REFERENCES archives,
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL,
        PRIMARY KEY (archive, offset)) WITHOUT ROWID""",
    """CREATE TABLE lost_frames (
        archive INTEGER NOT NULL REFERENCES archives,
        position INTEGER NOT NULL,
        length INTEGER NOT NULL,
        PRIMARY KEY (archive, position)) WITHOUT ROWID""",
    """CREATE TABLE mailboxes (
        number INTEGER PRIMARY KEY,
        scope INTEGER NOT NULL REFERENCES scopes,
        user TEXT NOT NULL,
        UNIQUE (scope, user))""",
    "CREATE INDEX mailboxes_of_user ON mailboxes (user)",
    """CREATE TABLE versions (
        mailbox INTEGER NOT NULL REFERENCES mailboxes,
        run INTEGER NOT NULL,
        unit INTEGER NOT NULL REFERENCES units,
        departed TEXT,
        detail TEXT,
        folders INTEGER NOT NULL,
        listed INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        skipped INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        added INTEGER NOT NULL,
        vanished INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        PRIMARY KEY (mailbox, run)) WITHOUT ROWID""",
    "CREATE INDEX versions_of_unit ON versions (unit, departed)",
    """CREATE TABLE present (
        scope INTEGER NOT NULL REFERENCES scopes,
        user TEXT NOT NULL,
        since INTEGER NOT NULL,
        good INTEGER,
        reason TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (scope, user)) WITHOUT ROWID""",
    """CREATE TABLE forgotten (
        scope INTEGER NOT NULL REFERENCES scopes,
        run INTEGER NOT NULL,
        PRIMARY KEY (scope, run)) WITHOUT ROWID""",
    """CREATE TABLE skipped (
        number INTEGER PRIMARY KEY,
        unit INTEGER NOT NULL REFERENCES units,
        path TEXT NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL)""",
    "CREATE INDEX skipped_of_unit ON skipped (unit)",
    f"PRAGMA user_version = {VERSION}",
)
