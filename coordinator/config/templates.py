"""What ``mailhaul init`` writes: a configuration and groups, with all that can be set in comments."""

CONFIG_TEMPLATE = """\
# mailhaul.toml: what is backed up, from where, to where.
# Relative paths are relative to the directory of this file. What is commented out shows what else there is.

[staging]
# Archives are written here: <path>/<partition>/<group>/<run>.<shard>.<id>.mha
path = "/var/spool/mailhaul"
# So much of the file system stays free; a worker that finds no room waits so long for some.
reserve = "1 GiB"
wait_for_space = "1h"
# Whose the archives are when a run has ended, and who may read them ("0600", "0640" or "0644"): for a program
# that carries them away from here.
# owner = "mailhaul"
# group = "backup"
# mode = "0640"
# A staging area on the device of the mail is lost with it: it is warned of, unless that is known.
# same_device = true
# With mail on other hosts: what this host is called below, where `mailhaul receive` listens, how the others
# reach it, and the directory of key files on each of them (see `mailhaul keys`).
# host = "staging01"
# listen = "tcp://0.0.0.0:7400"
# address = "tcp://staging01:7400"
# keys = "/etc/mailhaul/keys"

# One table for each partition, a named root of a mail store.
[[partition]]
name = "primary"
host = "localhost"
# Several hosts that share the storage of a partition:
# hosts = ["store01", "store02"]
format = "maildir"
# {user} stands for the whole user id, or for its part before "@" where {domain} occurs too.
# {user[0]}, {user[0:2]}, {domain[0]} stand for letters of them, as in stores with hashed directories.
path = "/srv/mail/{domain}/{user}/Maildir"
# With Dovecot: keeps what its clients have synchronised valid across a restore (HIGHESTMODSEQ).
# doveadm = "doveadm"
# What looks like mail in this store, or lies in its mailboxes, and is known not to be backed up: paths below
# the root or in a mailbox. It is listed as accepted, and is no fault.
# accept = ["shared-folders/*", "old-mdbox"]
# A folder that a restore makes anew goes on so far above its old UIDNEXT: clients may have seen UIDs that the
# server gave out after the backup.
# uid_margin = 10000000
# What belongs to the mailboxes and lies outside of them, each a path as that above: homes (else the directory
# above a mailbox that has a name of its own there), and what CONTROL= and INDEX= of Dovecot say.
# home = "/home/{user}"
# control = "/srv/control/{domain}/{user}"
# index = "/srv/index/{domain}/{user}"
# What of the homes the mail needs, beside filters and dovecot-attributes; a directory with all that is in it.
# also = ["keys/*.pem", ".gnupg"]

[groups]
# Regular expressions say which users are backed up together. Without groups all are in the group "user".
file = "backup-groups.conf"
# A user in several groups is backed up in each of them ("report"), in the first one ("first-match"),
# or ends the run ("error").
several = "report"
# Users in no group are backed up in the group "user" ("user"), or left out and listed as skipped ("report").
ungrouped = "user"
# A larger group is split into several archives.
largest_unit = "20 GiB"
# Groups that are switched off: they are backed up only by a run that names them.
# off = ["groupB"]

[exclude]
# Folders that are not backed up, each with those below it; * and ? match. A run that names a folder by its
# full path, as in /primary/user/jane@example.org/Trash, takes it all the same.
# folders = ["Junk", "Trash/*"]
# Users who are not backed up unless a run names them: expressions as those of groups, and a file of user ids.
# users = ["test[.].*"]
# users_file = "excluded-users"
# More folders of single groups:
# [exclude.group.groupA]
# folders = ["Archive/Old"]

[retention]
# Which runs stay restorable, for each group by itself: the last ones, and the newest of each of so many days,
# weeks, months and years. Without any of these all do. `mailhaul purge` applies them.
# last = 7
# daily = 14
# weekly = 8
# monthly = 12
# yearly = 5
# An archive of which less than this share is needed any more is written anew without the rest.
# compact_below = 0.5
# If more than this share of a mailbox, or of the mailboxes of a partition, is gone since it was stored last,
# that is told as an alarm, and nothing of it is purged until `mailhaul release`. 1: there are no alarms.
# alarm_share = 0.5
# Groups may have rules of their own, instead of those above:
# [retention.group.groupA]
# last = 30

[dispatch]
# "local": worker processes on this host. "ray": workers on all hosts of a Ray cluster.
engine = "local"
# At most so many workers on a host: as many work as gain anything, which is measured meanwhile.
workers_per_host = 8
# Units are begun at these times of the day only; what has not been begun waits for the next.
# window = "22:00-06:00"
# With "ray": the cluster, its token (a file of mode 0600), and how long work waits for a host that is gone.
# address = "auto"
# token_file = "/etc/mailhaul/ray.token"
# host_patience = "10m"
# tls = { cert = "/etc/mailhaul/host.pem", key = "/etc/mailhaul/host.key", ca = "/etc/mailhaul/ca.pem" }

[load]
# What all workers of a host together may read, and in a restore write, and how much they give way to others.
# bytes_per_second = "50 MB"
# messages_per_second = 2000
# nice = 10
# ionice = "idle"
# A restore begins with a tenth of that, and has all of it after this time.
# ramp = "1m"

[governor]
# While work goes on, each second a user of the mail server logs in, opens the INBOX, and reads a message.
# What 95 of 100 of these take stays below the target: the work on that host slows down as far as it must, but
# never below the share floor of its speed. At first, and while that user can't log in, blind is the most;
# it is the floor while users wait too long whatever the work does.
# target = "150ms"
# window = "60s"
# floor = 0.05
# blind = 0.25
# Whose eyes these are: an account without mail that matters; the password is in a file of mode 0600.
# user = "probe@example.org"
# password_file = "/etc/mailhaul/probe.password"
# ca_file = "/etc/mailhaul/ca.pem"
# A table for each mail host that is governed; it may have all that is above for itself.
# [governor.host.localhost]
# server = "imaps://mail01.example.org"

[archive]
# "lz4" is fast; "zstd" takes less space and more time.
codec = "lz4"
# Of zstd: 1 (fast) to 22 (small).
# level = 3

[encryption]
# For whom archives are encrypted: files with public keys. Each of them alone opens all; nobody else does, not
# even this host. Without any archives are not encrypted, which required = true refuses.
# recipients = ["/etc/mailhaul/ops.pub", "/etc/mailhaul/safe.pub"]
# required = true
# Each mailbox under keys of its own, so that `mailhaul erase` reaches copies that are locked or on tape: it
# destroys the secret of the mailbox. What several mailboxes have is stored twice.
# erasable = true
# A run warns of private keys that were not tried for so long (mailhaul keys recipient check).
# check_every = "90d"

[metrics]
# For Prometheus: an address to ask while a run goes on, and a file that is written when it ends.
# listen = "127.0.0.1:9410"
# textfile = "/var/lib/prometheus/node-exporter/mailhaul.prom"

[hooks]
# Programs that are called, without a shell: the facts come as JSON on stdin, and as MAILHAUL_... in the
# environment. If one fails that is called before, nothing is done; if one after, that is told (exit code 3).
# None may take longer than its limit: a time such as "10m", or one of the day such as "06:00".
# limit = "10m"
# before_run = ["/usr/local/sbin/snapshot-store", "make"]
# after_unit = ["/usr/local/sbin/note-archive"]
# after_run = { command = ["/usr/local/sbin/snapshot-store", "drop"], limit = "06:00" }
# before_sweep = ["/usr/local/sbin/mount-vault"]
# after_sweep = ["/usr/local/sbin/unmount-vault"]
# before_restore = ["/usr/local/sbin/note-restore", "begun"]
# after_restore = ["/usr/local/sbin/note-restore", "ended"]
# volume_wanted = ["/usr/local/sbin/call-operator"]
# files_wanted = ["/usr/local/sbin/call-operator"]
# operation_died = ["/usr/local/sbin/call-operator"]

# Where archives are kept for good, one table for each; see `mailhaul destination check NAME`.
# A directory: of this host, over NFS, on a disk that is carried.
# [[destination]]
# name = "vault"
# kind = "directory"
# path = "/mnt/vault"
# Object storage. credentials is a file of mode 0600 with AWS_ACCESS_KEY_ID= and AWS_SECRET_ACCESS_KEY=;
# without it the environment has them. With a lock nothing can be removed as long as a kept run needs it.
# [[destination]]
# name = "ceph"
# kind = "s3"
# endpoint = "https://s3.example.org"
# bucket = "mail"
# prefix = "site1/"
# region = "eu-central"
# credentials = "/etc/mailhaul/ceph.env"
# ca_file = "/etc/mailhaul/ca.pem"
# lock = "compliance"
# What is needed is locked for so long from now on at least, and again when half of that is over.
# lock_ahead = "30 days"
# legal_hold = false
# storage_class = "STANDARD_IA"
# tags = { owner = "mail" }
# part_threads = 4
# requests_per_second = 100
# What lies in a cold class is brought back so fast, and stays for so long.
# thaw_tier = "Standard"
# thaw_days = 7
# So much may lie there, by a quota or a contract: then it is told when it will be full.
# capacity = "50 TB"
# Tapes: a directory of volumes that are files (file), or drives (device) and the robot that feeds them. A
# volume takes archives until it is full, or those of one day or week; so long after its last archive was
# removed (reuse_after) it is labelled anew.
# [[destination]]
# name = "drive"
# kind = "tape"
# file = "/var/lib/mailhaul/drive0"
# capacity = "100 GB"
# pool = "default"
# allocation = "full"
# reuse_after = "30 days"
# record = "256 KiB"
# buffer = "32 MiB"
# [[destination]]
# name = "robot"
# kind = "tape"
# device = ["/dev/tape/by-id/scsi-3500-nst", "/dev/tape/by-id/scsi-3501-nst"]
# changer = "/dev/tape/by-id/scsi-3502-changer"
# label_blanks = false
# load_time = "2h"
# Programs that take files from their input and bring them back by their output. {name} stands for the name of
# a file, {prefix} for how names begin; no shell is started. stat prints the size of a file, list prints name
# and size of each on a line. A program that lets no byte through for so long is ended.
# [[destination]]
# name = "elsewhere"
# kind = "command"
# put = ["ssh", "vault01", "keep", "{name}"]
# get = ["ssh", "vault01", "bring", "{name}"]
# stat = ["ssh", "vault01", "size", "{name}"]
# list = ["ssh", "vault01", "names", "{prefix}"]
# remove = ["ssh", "vault01", "forget", "{name}"]
# time_limit = "1h"
# capacity = "50 TB"

[sweep]
# Archives are copied to all of these destinations, once they are so old.
# copies = ["vault", "elsewhere"]
# after = "0s"
# With all its copies, and so old, an archive leaves the staging area; without this only when space is short.
# keep_staged = "7 days"
# What the newest run of a group wrote stays as long as there is space: restores from it are quick.
# keep_newest = true
# So many copies are made at a time to each destination, by all together no faster than this.
# Not said: 4, of object storage 1 (which gets 4 parts of a file at a time), of tape one for each drive.
# streams = 4
# bytes_per_second = "100 MB"
# requests_per_second = 100
# A copy counts when it was found again so long after it was made.
# look_again = "1h"
# Groups may have rules of their own; what they do not say is as above:
# [sweep.group.groupA]
# copies = ["vault"]

[schedule]
# What `mailhaul serve` does when: "02:00", "sun 02:00", "mon-fri 22:30", a cron expression ("0 2 1 * *": on
# the 1st of each month), or a list of these. They are times of this zone; not said: of that of this host.
# zone = "Europe/Berlin"
# backup = "02:00"
# What is due at a time of both is a full backup.
# full = "sun 02:00"
# Groups that are due together: one run ("parallel"), or one for each, one after the other ("serial").
# order = "parallel"
# sweep = ["06:00", "18:00"]
# What was not read for so long is read again, in the staging area and at destinations (all of [sweep]).
# verify = "sat 08:00"
# verify_older_than = "30d"
# verify_from = ["vault"]
# purge = "sun 12:00"
# drill = "05:00"
# Of tapes: who is in the robot, and what is on them.
# inventory = "mon 07:00"
# Groups may be backed up at times of their own, instead of those above; sweep, purge, verify and drill come
# beside those above.
# [schedule.group.groupA]
# backup = "mon-fri 23:00"
# full = "sat 23:00"

[notices]
# Who hears of what. site stands in subjects; not said: the name of this host.
# site = "backup01"
# Mail goes out from this address, through this server (port 25; with tls = "implicit" 465). Its certificate
# is checked, unless tls = "none". The password lies in a file of mode 0600.
# sender = "mailhaul@example.org"
# server = "mail.example.org:587"
# tls = "starttls"
# ca_file = "/etc/mailhaul/mail-ca.pem"
# user = "mailhaul"
# password_file = "/etc/mailhaul/mail.password"
# The digest of the night is made at this time of the zone of [schedule]: a time of the day, or "off".
# digest = "07:00"
# A notice comes when a place will be full within so many days, as it has filled up lately.
# space_days = 7
# Receivers, one table for each: mail to addresses; a program (JSON on stdin, no shell); JSON by POST to the
# URL in a file of mode 0600, whose further lines are headers ("Authorization: Bearer ..."), signed with the
# key in secret_file as Standard Webhooks says. Events, or ["all"]: started finished skipped failed alarm
# tape-wanted drill-failed space operation-died operation-resumed key-overdue proof-old erasure-due
# switch-failed digest
# test. Not said: those that want somebody, and the digest.
# [[notices.to]]
# mail = ["jane@example.org", "joe@example.org"]
# events = ["failed", "alarm", "skipped", "digest"]
# [[notices.to]]
# name = "pager"
# command = ["/usr/local/bin/page", "--urgent"]
# limit = "1m"
# events = ["failed", "alarm", "tape-wanted"]
# [[notices.to]]
# name = "chat"
# webhook = "/etc/mailhaul/chat.url"
# secret_file = "/etc/mailhaul/chat.secret"
# ca_file = "/etc/mailhaul/chat-ca.pem"
# Worked after each good night, so that it is noticed when there is none: a URL (in a file of mode 0600) is
# asked, a file is touched.
# [notices.switch]
# url_file = "/etc/mailhaul/switch.url"
# method = "GET"
# ca_file = "/etc/mailhaul/switch-ca.pem"
# limit = "30s"
# file = "/var/log/mailhaul/good-night"

[serve]
# `mailhaul serve`: an operation that is stopped has so long to do so in order, and is killed then.
# stop_grace = "5m"
# Hosts with a key that may ask for any operation (`mailhaul operations add --coordinator`); others only for
# what loses no backup and changes no mail.
# trusted_hosts = ["admin01"]
# Private keys with which the page, and operations that name none, open encrypted archives. Whoever is root
# here then reads everything (docs/threat-model.md); without, a key is handed in on the page for a session.
# identities = ["/etc/mailhaul/ops.secret"]
# passphrase_files = ["/etc/mailhaul/ops.pass"]
# The page is at this Unix socket (not said: .mailhaul/serve.sock of the staging area), for its owner and
# root; for programs of this group, too, as which a proxy may come. `ssh -L 8080:SOCKET HOST` leads there.
# socket = "/run/mailhaul/serve.sock"
# socket_group = "www-data"
# Over the network with TLS (restart after a renewal), for the accounts of `mailhaul users`; names are what
# browsers call this host.
# listen = "0.0.0.0:8443"
# tls_cert = "/etc/mailhaul/page.pem"
# tls_key = "/etc/mailhaul/page.key"
# names = ["backup.example.org"]
# Or behind a proxy that authenticates, names the user in a header, and comes from these peers alone.
# proxy = { header = "X-Remote-User", peers = ["192.0.2.1", "unix:www-data"] }

[drill]
# The nightly proof (`mailhaul drill`): so many mailboxes are really restored, from their copies, and
# compared. This share of them is chosen by chance, and of that share this is restored as it was at an earlier
# moment; the others are those that have been unproven for longest, and now and then one of the largest.
# mailboxes = 20
# random = 0.2
# older = 0.25
# largest_every = "7d"
# A drill begins with no further mailbox after this time, and restores no more mail than this. A mailbox that
# is larger than half of that, or than scratch_space, is proven in parts, night by night.
# time = "2h"
# bytes = "50 GB"
# Where mailboxes are restored, one at a time, and removed again: a directory that nobody else can write to,
# by default one in the staging area; how much may lie there, and how much of its file system stays free.
# scratch = "/var/tmp/mailhaul-drills"
# scratch_space = "20 GB"
# reserve = "2 GiB"
# Copies are read at these destinations, in turn. Default: at all.
# places = ["vault", "ceph"]
# With this each mailbox is also listed by a Dovecot of its own, without port or password: nobody else can
# reach it. It works as the owner of the mail, who must get as far as scratch.
# doveadm = "doveadm"
# Drills that nobody attends need a private key where archives are encrypted: see docs/threat-model.md.
# identities = ["/etc/mailhaul/drill.key"]
# passphrase_files = ["/etc/mailhaul/drill.pass"]

[log]
# Events are appended to this file, a JSON object a line.
# file = "/var/log/mailhaul.log"
"""

GROUPS_TEMPLATE = """\
# backup-groups.conf: which users are backed up together, one name=regex a line.
#
# The whole user id must match. Several lines of one name add up. The expressions are those of RE2
# (https://github.com/google/re2/wiki/Syntax): classes such as [[:alpha:]], but no look-ahead or look-behind
# and no references (\\1). \\d, \\w and \\s stand for ASCII characters only, \\pL for any letter.
# The group "user" is predefined and holds everybody.
#
# groupA=[a-l].*
# groupB=[m-z].*
# groupB=[[:digit:]].*
"""
