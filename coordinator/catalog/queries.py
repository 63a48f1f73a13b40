"""The longer questions to the catalog's tables (``schema``). SQL only: each constant says what it answers."""

_GOOD = "('sealed', 'unchanged')"

# A run is purged if it is forgotten as a moment, and not one of a scope that it stored something of. A unit
# whose archive was purged need not be known as sealed: its run may have ended before it recorded that.
_RUNS = f"""
    SELECT r.run, r.started, r.ended, r.state, r.paths, r.options, r.error, r.narrowed,
        json_array_length(r.alarms) AS alarms,
        count(u.number) AS planned_units,
        count(*) FILTER (WHERE u.state = 'sealed') AS sealed_units,
        count(*) FILTER (WHERE u.state = 'unchanged') AS unchanged_units,
        count(*) FILTER (WHERE u.state = 'failed') AS failed_units,
        r.number IN (SELECT run FROM forgotten)
            AND count(*) FILTER (WHERE u.state IN {_GOOD} AND f.run IS NULL) = 0 AS purged,
        ifnull(sum(u.mailboxes), 0) AS mailboxes,
        ifnull(sum(u.departed), 0) AS departed,
        r.skipped + ifnull(sum(u.skipped), 0) AS skipped,
        r.excluded + ifnull(sum(u.excluded), 0) AS excluded,
        ifnull(sum(u.messages), 0) AS messages,
        ifnull(sum(u.read), 0) AS read,
        ifnull(sum(u.added), 0) AS added,
        ifnull(sum(u.vanished), 0) AS vanished,
        ifnull(sum(u.size_bytes), 0) AS size_bytes,
        ifnull(sum(u.new_bytes), 0) AS new_bytes,
        ifnull(sum(u.archive_bytes), 0) AS archive_bytes
    FROM runs r LEFT JOIN units u ON u.run = r.number
        LEFT JOIN forgotten f ON f.scope = u.scope AND f.run = u.run"""  # noqa: S608
NEWEST_RUNS = _RUNS + " WHERE r.number < ?2 GROUP BY r.number ORDER BY r.number DESC LIMIT ?1"
RUNS_FROM = _RUNS + " WHERE r.number >= ?1 AND r.number < ?2 GROUP BY r.number ORDER BY r.number"
ONE_RUN = _RUNS + " WHERE r.number = ? GROUP BY r.number"

UNITS = """
    SELECT r.run, s.partition, s.grp AS "group", u.shard, u.state, u.attempts, u.error, u.mailboxes,
        u.departed, u.skipped, u.excluded, u.messages, u.read, u.added, u.vanished, u.size_bytes, u.new_bytes,
        u.archive_bytes, u.seconds, u.cpu_seconds, u.peak_memory_bytes,
        EXISTS (SELECT 1 FROM forgotten f WHERE f.scope = u.scope AND f.run = u.run) AS purged
    FROM units u JOIN runs r ON r.number = u.run JOIN scopes s ON s.number = u.scope
    WHERE r.number = ? ORDER BY s.partition, s.grp, u.shard"""

# The runs that stored something of a scope and are not forgotten, oldest first.
MOMENTS = f"""
    SELECT r.run, r.started, r.paths, r.narrowed,
        count(*) = count(*) FILTER (WHERE u.state IN {_GOOD}) AS complete,
        count(*) FILTER (WHERE u.state = 'sealed') = 0 AS unchanged
    FROM units u JOIN runs r ON r.number = u.run
    WHERE u.scope = ?1 AND NOT EXISTS (SELECT 1 FROM forgotten f WHERE f.scope = ?1 AND f.run = u.run)
    GROUP BY u.run HAVING count(*) FILTER (WHERE u.state IN {_GOOD}) > 0
    ORDER BY u.run"""  # noqa: S608

# When the runs began that stored something of a partition (?1) and a group (?2; NULL: of all), and that are
# not forgotten there.
MOMENT_STARTS = f"""
    SELECT r.run, r.started FROM runs r WHERE EXISTS (
        SELECT 1 FROM units u JOIN scopes s ON s.number = u.scope
        WHERE u.run = r.number AND u.state IN {_GOOD}
            AND (?1 IS NULL OR s.partition = CAST(?1 AS TEXT)) AND (?2 IS NULL OR s.grp = CAST(?2 AS TEXT))
            AND NOT EXISTS (SELECT 1 FROM forgotten f WHERE f.scope = u.scope AND f.run = u.run))
    ORDER BY r.number"""  # noqa: S608

# The newest run at or before ?2 that stored something of a scope (?1), whether or not it is kept; and the
# newest one of these that is. A forgotten run may be known as such only, from a purge's own record.
STATE_AT = f"""
    SELECT max(run) AS run, max(run) IN (SELECT run FROM forgotten WHERE scope = ?1) AS purged FROM (
        SELECT max(run) AS run FROM units WHERE scope = ?1 AND run <= ?2 AND state IN {_GOOD}
        UNION ALL SELECT max(run) FROM forgotten WHERE scope = ?1 AND run <= ?2)"""  # noqa: S608
KEPT_AT = f"""
    SELECT run FROM units u WHERE scope = ?1 AND run <= ?2 AND state IN {_GOOD}
        AND NOT EXISTS (SELECT 1 FROM forgotten f WHERE f.scope = ?1 AND f.run = u.run)
    ORDER BY run DESC LIMIT 1"""  # noqa: S608

# Whether anything of a run is kept: in a scope that is not forgotten, or a version that still stands.
KEPT_RUN = f"""
    SELECT NOT EXISTS (SELECT 1 FROM forgotten WHERE run = ?1) OR EXISTS (
        SELECT 1 FROM units u WHERE u.run = ?1 AND u.state IN {_GOOD} AND (
            EXISTS (SELECT 1 FROM versions v WHERE v.unit = u.number)
            OR NOT EXISTS (SELECT 1 FROM forgotten f WHERE f.scope = u.scope AND f.run = u.run)))"""  # noqa: S608

PLANS = f"""
    SELECT s.partition, s.grp AS "group", u.shard, u.plan
    FROM units u JOIN scopes s ON s.number = u.scope
    WHERE u.run = ? AND u.state NOT IN {_GOOD} AND u.plan IS NOT NULL ORDER BY u.number"""  # noqa: S608

DROPPED_PLAN = f"""
    SELECT 1 FROM units u WHERE u.run = ? AND u.state NOT IN {_GOOD} AND u.plan IS NULL LIMIT 1"""  # noqa: S608

# Also one that found nothing changed has told how the mail was then.
LATER_RUN = f"""
    SELECT r.run FROM runs r JOIN units u ON u.run = r.number
    WHERE r.number > ? AND u.state IN {_GOOD} ORDER BY r.number DESC LIMIT 1"""  # noqa: S608

# What is planned of a unit is never needed again once it is done; the users of all units are much to keep.
END_UNIT = """
    UPDATE units SET state = ?, plan = NULL, attempts = ?, error = '', mailboxes = ?, departed = ?,
        skipped = ?, excluded = ?, messages = ?, read = ?, added = ?, vanished = ?, size_bytes = ?,
        new_bytes = ?, archive_bytes = ?, seconds = ?, cpu_seconds = ?, peak_memory_bytes = ?, ended = ?
    WHERE number = ?"""

_ARCHIVES = """
    SELECT a.number, a.archive, r.run, s.partition, s.grp AS "group", u.shard, a.name, a.size_bytes,
        a.sealed, a.generation, a.missing, a.encrypted
    FROM archives a JOIN units u ON u.number = a.unit JOIN runs r ON r.number = u.run
        JOIN scopes s ON s.number = u.scope"""
_IN_ORDER = " ORDER BY r.number, s.partition, s.grp, u.shard"
ALL_ARCHIVES = _ARCHIVES + _IN_ORDER
ARCHIVES_OF_RUN = _ARCHIVES + " WHERE r.number = ?" + _IN_ORDER
ONE_ARCHIVE = _ARCHIVES + " WHERE a.archive = ?"

# Units of kept moments that stored more mailboxes than are known: a catalog that was made again from archives
# knows the mailboxes of which these still tell.
FEWER_KNOWN = """
    SELECT s.partition, s.grp AS "group", r.run, a.archive, u.mailboxes - (
            SELECT count(*) FROM versions v WHERE v.unit = u.number AND v.departed IS NULL) AS mailboxes
    FROM units u JOIN archives a ON a.unit = u.number JOIN runs r ON r.number = u.run
        JOIN scopes s ON s.number = u.scope
    WHERE NOT EXISTS (SELECT 1 FROM forgotten f WHERE f.scope = u.scope AND f.run = u.run) AND u.mailboxes > (
        SELECT count(*) FROM versions v WHERE v.unit = u.number AND v.departed IS NULL)
    ORDER BY u.run, u.number"""

# Runs that are done, behind one (?1) and up to another (?2), and that have no unit of a group (?3, ?4).
RUNS_WITHOUT_UNIT = """
    SELECT r.number, r.paths FROM runs r
    WHERE r.number > ?1 AND r.number <= ?2 AND r.state = 'done' AND NOT r.narrowed AND NOT EXISTS (
        SELECT 1 FROM units u JOIN scopes s ON s.number = u.scope
        WHERE u.run = r.number AND s.partition = CAST(?3 AS TEXT) AND s.grp = CAST(?4 AS TEXT))"""

SCOPES = """
    SELECT number, partition, grp AS "group" FROM scopes
    WHERE (?1 IS NULL OR partition = CAST(?1 AS TEXT)) AND (?2 IS NULL OR grp = CAST(?2 AS TEXT))
    ORDER BY partition, grp"""

# The newest version of each mailbox of one scope (?1), at or before a run (?2): two steps along indexes for
# each, however many versions there are.
_VERSIONS = """
    SELECT m.user, r.run, u.shard, a.archive, v.folders, v.listed, v.stored, v.skipped, v.size_bytes,
        v.added, v.vanished, v.changed
    FROM mailboxes m JOIN versions v ON v.mailbox = m.number AND v.run = (
            SELECT max(run) FROM versions WHERE mailbox = m.number AND run <= ?2)
        JOIN runs r ON r.number = v.run JOIN units u ON u.number = v.unit
        JOIN archives a ON a.unit = v.unit
    WHERE m.scope = ?1 AND v.departed IS NULL"""
VERSIONS_OF_ALL = _VERSIONS + " ORDER BY m.user"
VERSION_OF_ONE = _VERSIONS + " AND m.user = CAST(?3 AS TEXT)"

# Every version of the mailboxes of a scope (?1), or of one of them (?2), oldest first.
_HISTORY = """
    SELECT s.partition, s.grp AS "group", m.user, r.run, r.started, u.shard, a.archive, v.folders,
        v.listed, v.stored, v.skipped, v.size_bytes, v.added, v.vanished, v.changed,
        ifnull(v.departed, '') AS departed, ifnull(v.detail, '') AS detail
    FROM scopes s JOIN mailboxes m ON m.scope = s.number JOIN versions v ON v.mailbox = m.number
        JOIN runs r ON r.number = v.run JOIN units u ON u.number = v.unit
        LEFT JOIN archives a ON a.unit = v.unit AND v.departed IS NULL
    WHERE s.number = ?1{} ORDER BY m.user, v.run"""
HISTORY_OF_ALL = _HISTORY.format("")
HISTORY_OF_ONE = _HISTORY.format(" AND m.user = CAST(?2 AS TEXT)")

# The mailboxes whose users' names begin with ?1 (and sort before ?2), or, further down, hold ?1 in letters
# of any case without beginning with it; of the groups in ?3 (NULL: of all); at most ?4. Each by its newest
# version; one that went to another group or partition is found there. Names are gone through in the order of
# their index, so that it can end after those that are wanted.
_KNOWN = """
    SELECT s.partition, s.grp AS "group", m.user, r.run, r.started, v.stored AS messages, v.size_bytes,
        ifnull(v.departed, '') AS reason
    FROM mailboxes m INDEXED BY mailboxes_of_user JOIN scopes s ON s.number = m.scope
        JOIN versions v ON v.mailbox = m.number AND v.run = (
            SELECT max(run) FROM versions WHERE mailbox = m.number)
        JOIN runs r ON r.number = v.run
    WHERE {}
        AND (?3 IS NULL OR s.grp IN (SELECT CAST(value AS TEXT) FROM json_each(?3)))
        AND ifnull(v.departed, '') NOT IN ('left-group', 'moved')
    ORDER BY m.user, s.partition LIMIT ?4"""
USERS_BEGINNING = _KNOWN.format("m.user >= CAST(?1 AS TEXT) AND m.user < CAST(?2 AS TEXT)")
USERS_HOLDING = _KNOWN.format(
    "instr(lower(m.user), lower(CAST(?1 AS TEXT))) > 0"
    " AND NOT (m.user >= CAST(?1 AS TEXT) AND m.user < CAST(?2 AS TEXT))"
)

# What a run (?1) found departed, as it or a later run tells. CROSS JOIN: by the few departures of units, as
# going through all versions of all mailboxes takes minutes where there are many.
DEPARTURES = """
    SELECT s.partition, s.grp AS "group", m.user, r.run, r.started, u.shard, NULL AS archive, v.folders,
        v.listed, v.stored, v.skipped, v.size_bytes, v.added, v.vanished, v.changed, v.departed, v.detail
    FROM units u CROSS JOIN versions v ON v.unit = u.number AND v.departed > ''
        JOIN mailboxes m ON m.number = v.mailbox JOIN scopes s ON s.number = m.scope
        JOIN runs r ON r.number = v.run
    WHERE u.run >= ?1 AND v.run = ?1
    ORDER BY s.partition, s.grp, m.user"""

# Of each wanted user the newest version in the scope ?1, where its archive is at hand. CROSS JOIN: the scope
# may have many more users than are wanted, so they come first.
OWN_PARENTS = """
    SELECT w.user, a.archive
    FROM wanted w CROSS JOIN mailboxes m ON m.scope = ?1 AND m.user = w.user
        JOIN versions v ON v.mailbox = m.number AND v.run = (
            SELECT max(run) FROM versions WHERE mailbox = m.number)
        JOIN archives a ON a.unit = v.unit
    WHERE v.departed IS NULL AND NOT a.missing"""

# Of each wanted user the newest version that is at hand in each scope, whatever came after it; those to
# prefer last: of the partition ?1, then the newer one.
OTHER_PARENTS = """
    SELECT w.user, a.archive
    FROM wanted w CROSS JOIN mailboxes m ON m.user = w.user JOIN scopes s ON s.number = m.scope
        JOIN versions v ON v.mailbox = m.number AND v.run = (
            SELECT x.run FROM versions x JOIN archives y ON y.unit = x.unit
            WHERE x.mailbox = m.number AND x.departed IS NULL AND NOT y.missing
            ORDER BY x.run DESC LIMIT 1)
        JOIN archives a ON a.unit = v.unit
    ORDER BY s.partition = CAST(?1 AS TEXT), v.run, m.number"""

# The archive ?1 and those that it refers to, as far as they are at hand.
AT_HAND = """
    SELECT number, archive FROM archives WHERE archive = ?1 AND NOT missing
    UNION SELECT o.number, o.archive
    FROM archives a JOIN refs ON refs.archive = a.number JOIN archives o ON o.number = refs.other
    WHERE a.archive = ?1 AND NOT o.missing"""

# Copies, the best to read first.
_BEST_FIRST = "state = 'lost', place <> 'staging', state = 'copied', generation DESC, place, name, version"
COPIES = f"""
    SELECT place, name, version, generation, size_bytes, checksum, state, copied, verified, checked,
        locked_until
    FROM locations WHERE archive = ? ORDER BY {_BEST_FIRST}"""  # noqa: S608
LOCATIONS = f"""
    SELECT (SELECT a.archive FROM archives a WHERE a.number = l.archive) AS archive, place, name, version,
        size_bytes
    FROM locations l WHERE state <> 'lost' ORDER BY l.archive, {_BEST_FIRST}"""  # noqa: S608

LOCATIONS_OF = f"""
    SELECT place, name, version, size_bytes FROM locations
    WHERE state <> 'lost' AND archive = (SELECT number FROM archives WHERE archive = ?)
    ORDER BY {_BEST_FIRST}"""  # noqa: S608

ENCRYPTED = "SELECT archive FROM archives WHERE encrypted"

HOLES = "SELECT offset, length FROM holes WHERE archive = ? ORDER BY offset"
LOST = "SELECT offset, length FROM lost WHERE archive = ? ORDER BY offset"
LOST_FRAMES = "SELECT position, length FROM lost_frames WHERE archive = ? ORDER BY position"

REFERENCES = """
    SELECT o.archive FROM archives a JOIN refs ON refs.archive = a.number JOIN archives o
        ON o.number = refs.other
    WHERE a.archive = ? ORDER BY o.number"""

REASONS = """
    SELECT k.reason, count(*) FROM units u JOIN skipped k ON k.unit = u.number
    WHERE u.run = ? GROUP BY k.reason"""

# Of a scope: how many mailboxes are there, how many of them the newest run did not store whole, how many no
# run ever did; of the others the oldest and the newest good run.
STANDING = """
    SELECT count(*) AS mailboxes, count(*) FILTER (WHERE reason <> '') AS behind,
        count(*) FILTER (WHERE good IS NULL) AS never, min(good) AS worst, max(good) AS best
    FROM present WHERE scope = ?"""

# When a run had stored what it did of a scope.
STORED_AT = f"""
    SELECT r.run, r.started, max(u.ended) AS sealed FROM units u JOIN runs r ON r.number = u.run
    WHERE u.scope = ?1 AND u.run = ?2 AND u.state IN {_GOOD} GROUP BY u.run"""  # noqa: S608

# The mailboxes of a scope without a good backup by a run that began then (?2) or later, those without any
# first; without a time those that the newest run did not store whole.
BEHIND = """
    SELECT p.user, g.run AS good, g.started AS stored_at, s.run AS since, p.reason, p.detail
    FROM present p LEFT JOIN runs g ON g.number = p.good LEFT JOIN runs s ON s.number = p.since
    WHERE p.scope = ?1 AND iif(?2 IS NULL, p.reason <> '', p.good IS NULL OR g.started < ?2)
    ORDER BY p.good IS NOT NULL, p.good, p.user"""

# What runs have done to each scope, in all.
TOTALS = """
    SELECT s.partition, s.grp AS "group", sum(u.messages) AS messages, sum(u.read) AS read,
        sum(u.size_bytes) AS size_bytes, sum(u.new_bytes) AS new_bytes, sum(u.archive_bytes) AS archive_bytes
    FROM units u JOIN scopes s ON s.number = u.scope GROUP BY u.scope ORDER BY s.partition, s.grp"""

UNIT_ENDS = """
    SELECT u.*, s.partition, s.grp AS "group", a.archive, a.name
    FROM units u JOIN scopes s ON s.number = u.scope LEFT JOIN archives a ON a.unit = u.number
    WHERE u.run = ? ORDER BY u.number"""
SKIPPED_OF_UNITS = """
    SELECT k.unit, k.path, k.reason, k.detail FROM units u JOIN skipped k ON k.unit = u.number
    WHERE u.run = ? ORDER BY k.number"""
PRESENT = "SELECT user, since, good, reason, detail FROM present WHERE scope = ? ORDER BY user"

# The users of a scope whose newest version has not departed, and the run of their first version.
STORED_NOW = """
    SELECT m.user, (SELECT min(run) FROM versions WHERE mailbox = m.number) AS first
    FROM mailboxes m JOIN versions v ON v.mailbox = m.number AND v.run = (
            SELECT max(run) FROM versions WHERE mailbox = m.number)
    WHERE m.scope = ? AND v.departed IS NULL ORDER BY m.user"""

# A row if a unit is kept, and its archive is not there.
ARCHIVE_OF_KEPT_UNIT = """
    SELECT 1 FROM units u WHERE u.number = ? AND u.state = 'sealed'
        AND NOT EXISTS (SELECT 1 FROM archives a WHERE a.unit = u.number)
        AND NOT EXISTS (SELECT 1 FROM forgotten f WHERE f.scope = u.scope AND f.run = u.run)"""

SKIPPED = """
    SELECT k.path, k.reason, k.detail FROM units u JOIN skipped k ON k.unit = u.number
    WHERE u.run = ? ORDER BY k.number"""

# Versions of the scope ?1 that hold at none of the kept runs, and are not the newest of their mailbox. A
# version holds from its run until the next one. Of a mailbox that went to another group or partition the last
# version stays until it is stored there: until then nobody else has it.
HIDDEN = """
    WITH spans AS (
        SELECT v.mailbox, v.run, m.user, lead(v.run) OVER each AS next, lead(v.departed) OVER each AS gone
        FROM mailboxes m JOIN versions v ON v.mailbox = m.number
        WHERE m.scope = ?1 AND m.number NOT IN (SELECT mailbox FROM held)
        WINDOW each AS (PARTITION BY v.mailbox ORDER BY v.run))
    SELECT mailbox, run FROM spans
    WHERE next IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM kept k WHERE k.run >= spans.run AND k.run < spans.next)
        AND (gone IS NULL OR gone NOT IN ('left-group', 'moved') OR EXISTS (
            SELECT 1
            FROM mailboxes o JOIN scopes t ON t.number = o.scope JOIN versions x ON x.mailbox = o.number
            WHERE o.user = spans.user AND o.scope <> ?1 AND x.run >= spans.next AND x.departed IS NULL
                AND (gone = 'moved') = (t.partition <> (SELECT partition FROM scopes WHERE number = ?1))))"""

# Whether an archive from before a departure is left: it may hold the mailbox, whatever is known of it.
_OLDER_ARCHIVE = """EXISTS (
        SELECT 1 FROM units o JOIN archives a ON a.unit = o.number
        WHERE o.scope = ?1 AND o.run < v.run AND NOT a.missing)"""

# Departures before which nothing is left of the mailbox: they hide nothing.
_HIDING_NOTHING = """
    SELECT v.mailbox, v.run FROM mailboxes m JOIN versions v ON v.mailbox = m.number
    WHERE m.scope = ?1 AND v.departed IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM versions x WHERE x.mailbox = v.mailbox AND x.run < v.run AND x.departed IS NULL)
        AND NOT """
IDLE_DEPARTURES = _HIDING_NOTHING + _OLDER_ARCHIVE

# Mailboxes of a scope that are gone, and that older archives may hold: each archive tells so once more.
_GONE = """
    SELECT m.user, v.departed, ifnull(v.detail, '') AS detail, v.run, u.shard
    FROM mailboxes m JOIN versions v ON v.mailbox = m.number AND v.run = (
            SELECT max(run) FROM versions WHERE mailbox = m.number)
        JOIN units u ON u.number = v.unit
    WHERE m.scope = ?1 AND v.departed IS NOT NULL AND """
CARRIED = _GONE + _OLDER_ARCHIVE + " ORDER BY m.user"

# The departures that the archive ?1 is needed to tell of.
TOLD_BY = """
    SELECT m.user, v.departed, ifnull(v.detail, '') AS detail, nullif(v.run, u.run) AS run
    FROM archives a JOIN units u ON u.number = a.unit JOIN versions v ON v.unit = u.number
        JOIN mailboxes m ON m.number = v.mailbox
    WHERE a.archive = ?1 AND v.departed IS NOT NULL ORDER BY m.user"""

# Departures for the reasons ?1 and ?2 (all, or those that the unit ?3 tells) hold in every group of the
# partition in which the mailbox was stored before and not since.
SPREAD_DEPARTURES = """
    INSERT INTO versions (mailbox, run, unit, departed, detail, folders, listed, stored, skipped, size_bytes,
        added, vanished, changed)
    SELECT o.number, v.run, v.unit, v.departed, v.detail, 0, 0, 0, 0, 0, 0, 0, 1
    FROM versions v JOIN mailboxes m ON m.number = v.mailbox JOIN scopes s ON s.number = m.scope
        JOIN mailboxes o ON o.user = m.user AND o.number <> m.number
        JOIN scopes t ON t.number = o.scope AND t.partition = s.partition
    WHERE v.departed IN (?1, ?2) AND (?3 IS NULL OR v.unit = ?3) AND (
        SELECT x.run < v.run AND x.departed IS NULL FROM versions x
        WHERE x.mailbox = o.number AND x.run <= v.run ORDER BY x.run DESC LIMIT 1)
    ON CONFLICT DO NOTHING"""

# Archives that some version needs; and the mailboxes whose metadata it needs in the archive of a unit. Where
# an archive tells of departures only, there are none.
NEEDED = """
    SELECT a.archive, a.unit FROM archives a
    WHERE EXISTS (SELECT 1 FROM versions v WHERE v.unit = a.unit) ORDER BY a.number"""
STORED = "SELECT mailbox FROM versions WHERE unit = ? AND departed IS NULL"

# Archives that are not at hand: what each was called, if that is known, and a file that refers to it.
MISSING = """
    SELECT lower(hex(o.archive)), 'missing' AS reason,
        iif(o.name = '', '', o.name || ', ') || 'referred to by ' || min(a.name) AS detail
    FROM archives o JOIN refs ON refs.other = o.number JOIN archives a ON a.number = refs.archive
    WHERE o.missing GROUP BY o.number ORDER BY o.number"""
REFERRING_TO_MISSING = """
    SELECT DISTINCT a.number, a.archive, a.unit, a.name
    FROM archives o JOIN refs ON refs.other = o.number JOIN archives a ON a.number = refs.archive
    WHERE o.missing AND a.unit IS NOT NULL AND NOT a.missing"""

# The archives of which copies count in one place only, and those of which none counts but in the place ?1:
# how many, and since when the oldest is sealed.
ALONE = """
    SELECT count(*), min(sealed) FROM archives a WHERE unit IS NOT NULL AND (
        SELECT count(DISTINCT place) FROM locations l WHERE l.archive = a.number AND l.state = 'kept') = 1"""
RUN_PLACES = """
    SELECT r.run, l.place, l.state, count(*) AS archives, sum(l.size_bytes) AS size_bytes
    FROM runs r JOIN units u ON u.run = r.number JOIN archives a ON a.unit = u.number
        JOIN locations l ON l.archive = a.number
    WHERE r.number >= ?1 AND r.number <= ?2
    GROUP BY r.number, l.place, l.state ORDER BY r.number, l.place, l.state"""
RUN_STANDING = """
    SELECT r.run, count(*) AS archives, sum(here) AS staged, sum(here AND NOT away) AS staged_only,
        sum(away AND NOT here) AS freed
    FROM (
        SELECT u.run AS number,
            EXISTS (SELECT 1 FROM locations l
                WHERE l.archive = a.number AND l.place = ?1 AND l.state <> 'lost') AS here,
            EXISTS (SELECT 1 FROM locations l
                WHERE l.archive = a.number AND l.place <> ?1 AND l.state = 'kept') AS away
        FROM units u JOIN archives a ON a.unit = u.number
        WHERE u.run >= ?2 AND u.run <= ?3) JOIN runs r USING (number)
    GROUP BY number"""
UNSWEPT = """
    SELECT count(*), min(sealed) FROM archives a WHERE unit IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM locations l
        WHERE l.archive = a.number AND l.state = 'kept' AND l.place <> ?)"""

# What a run (?1) left out behind an entry (?2), in the order of the commits.
SKIPPED_BEHIND = """
    SELECT k.number, k.path, k.reason, k.detail FROM units u JOIN skipped k ON k.unit = u.number
    WHERE u.run = ?1 AND k.number > ?2 ORDER BY k.number LIMIT ?3"""

# The archives of each group, by the places (with NUL between them) in which copies of them count, and whether
# any copy is there. Each archive is looked at once, in the order of the copies. CROSS JOIN: from those.
GROUP_COPIES = """
    WITH each AS (
        SELECT archive, group_concat(iif(state = 'kept', place, NULL), char(0)) AS places,
            max(state <> 'lost') AS there
        FROM locations GROUP BY archive
        UNION ALL SELECT number, NULL, 0 FROM archives WHERE missing AND NOT EXISTS (
            SELECT 1 FROM locations WHERE archive = number))
    SELECT s.partition, s.grp AS "group", ifnull(places, '') AS places, there, count(*) AS archives,
        sum(a.size_bytes) AS size_bytes, min(a.sealed) AS since
    FROM each CROSS JOIN archives a ON a.number = each.archive CROSS JOIN units u ON u.number = a.unit
        JOIN scopes s ON s.number = u.scope
    GROUP BY u.scope, places, there ORDER BY s.partition, s.grp"""

# By place and state, and what of it was never read again: how many, and since when the oldest is there.
PLACE_LOOKS = """
    SELECT place, state, count(*) AS archives, sum(size_bytes) AS size_bytes,
        count(locked_until) AS locked, min(locked_until) AS locked_until,
        count(*) - count(checked) AS unchecked,
        min(iif(checked IS NULL, copied, NULL)) AS unchecked_since, min(checked) AS checked_since
    FROM locations GROUP BY place, state ORDER BY place, state"""

# Bytes of the archives of the runs from ?1 on, by the places where they lie. CROSS JOIN: from the runs.
PLACE_NEWS = """
    SELECT l.place, sum(l.size_bytes) AS size_bytes
    FROM units u CROSS JOIN archives a ON a.unit = u.number CROSS JOIN locations l ON l.archive = a.number
    WHERE u.run >= ?1 AND l.state <> 'lost' GROUP BY l.place ORDER BY l.place"""

# The archives of the units that are {told}, and all others that their metadata names.
WITH_REFERENCES = """
    WITH told AS (
        SELECT number FROM archives WHERE unit IN ({told}))
    SELECT archive FROM archives WHERE number IN told
    UNION SELECT o.archive FROM refs JOIN archives o ON o.number = refs.other WHERE refs.archive IN told"""

# The units that tell of the mailboxes of a scope (?1) at a run (?2), and of those that were gone.
UNITS_AT = """
    SELECT v.unit FROM mailboxes m JOIN versions v ON v.mailbox = m.number AND v.run = (
        SELECT max(run) FROM versions WHERE mailbox = m.number AND run <= ?2)
    WHERE m.scope = ?1"""
