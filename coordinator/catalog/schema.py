"""The catalog's tables, and the longer queries on them. SQL only: ``catalog`` and ``rows`` run it.

Runs are numbered by their ids, in the same order, so that "at or before" is a comparison of integers.
A scope is a (partition, group). ``plan`` is the journal of a run: what a unit consists of, until it is
sealed; ``unplanned`` what no unit of the run holds though it was asked for. Texts may hold the raw bytes of
file names, which are not always UTF-8; so they are bound as bytes and CAST.
"""

VERSION = 2
"""Kept in user_version. A change of the tables raises it."""

TABLES = (
    """CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        run TEXT NOT NULL UNIQUE,
        started TEXT NOT NULL,
        ended TEXT,
        state TEXT NOT NULL CHECK (state IN ('running', 'done', 'partial', 'failed')),
        paths TEXT NOT NULL,
        options TEXT NOT NULL,
        error TEXT NOT NULL,
        resumed INTEGER NOT NULL DEFAULT 0,
        unplanned TEXT NOT NULL DEFAULT '{}')""",
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
        state TEXT NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'sealed', 'failed')),
        plan TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '',
        mailboxes INTEGER NOT NULL DEFAULT 0,
        skipped INTEGER NOT NULL DEFAULT 0,
        messages INTEGER NOT NULL DEFAULT 0,
        size_bytes INTEGER NOT NULL DEFAULT 0,
        new_bytes INTEGER NOT NULL DEFAULT 0,
        archive_bytes INTEGER NOT NULL DEFAULT 0,
        seconds REAL NOT NULL DEFAULT 0,
        cpu_seconds REAL NOT NULL DEFAULT 0,
        peak_memory_bytes INTEGER NOT NULL DEFAULT 0,
        UNIQUE (run, scope, shard))""",
    "CREATE INDEX units_of_scope ON units (scope, run)",
    """CREATE TABLE archives (
        archive BLOB PRIMARY KEY,
        unit INTEGER NOT NULL UNIQUE REFERENCES units,
        file TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        sealed TEXT) WITHOUT ROWID""",
    """CREATE TABLE mailboxes (
        scope INTEGER NOT NULL REFERENCES scopes,
        user TEXT NOT NULL,
        run INTEGER NOT NULL REFERENCES runs,
        unit INTEGER NOT NULL REFERENCES units,
        folders INTEGER NOT NULL,
        listed INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        skipped INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (scope, user, run)) WITHOUT ROWID""",
    "CREATE INDEX mailboxes_of_unit ON mailboxes (unit)",
    """CREATE TABLE skipped (
        number INTEGER PRIMARY KEY,
        unit INTEGER NOT NULL REFERENCES units,
        path TEXT NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL)""",
    "CREATE INDEX skipped_of_unit ON skipped (unit)",
    f"PRAGMA user_version = {VERSION}",
)

_RUNS = """
    SELECT r.run, r.started, r.ended, r.state, r.paths, r.options, r.error,
        count(u.number) AS planned_units,
        count(*) FILTER (WHERE u.state = 'sealed') AS sealed_units,
        count(*) FILTER (WHERE u.state = 'failed') AS failed_units,
        ifnull(sum(u.mailboxes), 0) AS mailboxes,
        ifnull(sum(u.skipped), 0) AS skipped,
        ifnull(sum(u.messages), 0) AS messages,
        ifnull(sum(u.size_bytes), 0) AS size_bytes,
        ifnull(sum(u.new_bytes), 0) AS new_bytes,
        ifnull(sum(u.archive_bytes), 0) AS archive_bytes
    FROM runs r LEFT JOIN units u ON u.run = r.number"""
NEWEST_RUNS = _RUNS + " GROUP BY r.number ORDER BY r.number DESC LIMIT ?"
ONE_RUN = _RUNS + " WHERE r.number = ? GROUP BY r.number"

UNITS = """
    SELECT r.run, s.partition, s.grp AS "group", u.shard, u.state, u.attempts, u.error, u.mailboxes,
        u.skipped, u.messages, u.size_bytes, u.new_bytes, u.archive_bytes, u.seconds, u.cpu_seconds,
        u.peak_memory_bytes
    FROM units u JOIN runs r ON r.number = u.run JOIN scopes s ON s.number = u.scope
    WHERE r.number = ? ORDER BY s.partition, s.grp, u.shard"""

# The runs, newest first, of which no unit of a scope is missing; none that was narrowed by an option. In the
# order of an index: who wants the first ones only, stops there.
SEALED_RUNS = """
    SELECT r.run, r.started, r.paths, max(a.sealed) AS sealed
    FROM units u JOIN runs r ON r.number = u.run LEFT JOIN archives a ON a.unit = u.number
    WHERE u.scope = ? AND r.options = '' GROUP BY u.run
    HAVING count(*) = count(*) FILTER (WHERE u.state = 'sealed')
    ORDER BY u.run DESC"""

PLANS = """
    SELECT s.partition, s.grp AS "group", u.shard, u.plan
    FROM units u JOIN scopes s ON s.number = u.scope
    WHERE u.run = ? AND u.state <> 'sealed' AND u.plan IS NOT NULL ORDER BY u.number"""

LATER_ARCHIVES = """
    SELECT r.run FROM runs r JOIN units u ON u.run = r.number
    WHERE r.number > ? AND u.state = 'sealed' ORDER BY r.number DESC LIMIT 1"""

# What is planned of a sealed unit is never needed again; the users of all units are much to keep.
SEAL_UNIT = """
    UPDATE units SET state = 'sealed', plan = NULL, attempts = ?, error = '', mailboxes = ?, skipped = ?,
        messages = ?, size_bytes = ?, new_bytes = ?, archive_bytes = ?, seconds = ?, cpu_seconds = ?,
        peak_memory_bytes = ?
    WHERE number = ?"""

_ARCHIVES = """
    SELECT a.archive, r.run, s.partition, s.grp AS "group", u.shard, a.file, a.size_bytes, a.sealed
    FROM archives a JOIN units u ON u.number = a.unit JOIN runs r ON r.number = u.run
        JOIN scopes s ON s.number = u.scope"""
_IN_ORDER = " ORDER BY r.number, s.partition, s.grp, u.shard"
ALL_ARCHIVES = _ARCHIVES + _IN_ORDER
ARCHIVES_OF_RUN = _ARCHIVES + " WHERE r.number = ?" + _IN_ORDER
ONE_ARCHIVE = _ARCHIVES + " WHERE a.archive = ?"

SCOPES = """
    SELECT number, partition, grp AS "group" FROM scopes
    WHERE (?1 IS NULL OR partition = CAST(?1 AS TEXT)) AND (?2 IS NULL OR grp = CAST(?2 AS TEXT))
    ORDER BY partition, grp"""

# The newest version of each user of one scope (?1), at or before a run (?2): beside max(), SQLite
# takes the other columns from the row that has it. One walk along the primary key.
_VERSIONS = """
    SELECT m.user, r.run, u.shard, a.archive, m.folders, m.listed, m.stored, m.skipped, m.size_bytes
    FROM (SELECT user, max(run) AS run, unit, folders, listed, stored, skipped, size_bytes
            FROM mailboxes WHERE scope = ?1 AND run <= ?2{} GROUP BY user) m
        JOIN runs r ON r.number = m.run JOIN units u ON u.number = m.unit JOIN archives a ON a.unit = m.unit
    ORDER BY m.user"""
VERSIONS_OF_ALL = _VERSIONS.format("")
VERSION_OF_ONE = _VERSIONS.format(" AND user = CAST(?3 AS TEXT)")

LAST_USERS = """
    WITH sealed AS (SELECT u.number, u.run FROM units u JOIN scopes s ON s.number = u.scope
        WHERE s.partition = CAST(? AS TEXT) AND u.state = 'sealed')
    SELECT DISTINCT user FROM mailboxes
    WHERE unit IN (SELECT number FROM sealed WHERE run = (SELECT max(run) FROM sealed))"""

SKIPPED = """
    SELECT k.path, k.reason, k.detail FROM units u JOIN skipped k ON k.unit = u.number
    WHERE u.run = ? ORDER BY k.number"""
