"""mailhaul.toml: what it gives, and how wrong values are told."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from mailhaul.coordinator import config
from mailhaul.coordinator.config.root import TABLES
from mailhaul.coordinator.governing.effort import Rules
from mailhaul.coordinator.governing.settings import HostRules, ProbeAccount
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.scheduling.settings import GroupTimes, ScheduleConfig, Timing
from mailhaul.coordinator.settings import (
    ArchiveConfig,
    Config,
    DispatchConfig,
    ExcludeConfig,
    GroupsConfig,
    LogConfig,
    MetricsConfig,
    RetentionConfig,
    StagingConfig,
    SweepConfig,
    SweepRules,
    TlsConfig,
)
from mailhaul.coordinator.window import Window
from mailhaul.groups.assignment import GroupRules
from mailhaul.proto.errors import ConfigError
from mailhaul.proto.records import Partition
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.settings import (
    CommandDestination,
    DirectoryDestination,
    S3Destination,
    TapeDestination,
)
from mailhaul.worker.load import LoadLimits

STAGING = '[staging]\npath = "staging"\n'
PARTITION = '[[partition]]\nformat = "maildir"\npath = "/srv/mail/{user}"\n'
MINIMAL = STAGING + PARTITION
VAULT = '[[destination]]\nname = "vault"\nkind = "directory"\npath = "/mnt/vault"\n'
S3 = '[[destination]]\nname = "ceph"\nkind = "s3"\nbucket = "mail"\n'
TAPE = '[[destination]]\nname = "drive"\nkind = "tape"\n'
COMMAND = '[[destination]]\nname = "elsewhere"\nkind = "command"\n'


def write(directory: Path, text: str | bytes, groups: str | bytes | None = None) -> Path:
    file = directory / "mailhaul.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    if groups is not None:
        (directory / "g.conf").write_bytes(groups.encode() if isinstance(groups, str) else groups)
    return file


def refusal(directory: Path, text: str | bytes, groups: str | bytes | None = None) -> str:
    file = write(directory, text, groups)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert caught.value.message.startswith(str(directory))
    return caught.value.message.replace(f"{directory}/", "")


class TestValues:
    def test_the_least_that_is_needed(self, tmp_path: Path) -> None:
        partition = Partition(name="primary", format="maildir", path="/srv/mail/{user}")
        loaded = config.load(write(tmp_path, MINIMAL))
        assert loaded == Config(staging=StagingConfig(path=tmp_path / "staging"), partitions=(partition,))
        assert loaded.groups == GroupsConfig(rules=GroupRules(), largest_unit_bytes=20 * 2**30)
        assert loaded.dispatch == DispatchConfig(engine="local", workers_per_host=8)
        assert loaded.archive == ArchiveConfig(codec="lz4", level=3)

    def test_every_key(self, tmp_path: Path) -> None:
        text = """
            [staging]
            path = "/var/spool/mailhaul"
            host = "staging01"
            listen = "tcp://0.0.0.0:7400"
            address = "tcp://staging01:7400"
            keys = "keys"
            reserve = "2 GiB"
            wait_for_space = "90s"
            [[partition]]
            name = "primary"
            host = "store01.example.org"
            format = "maildir"
            path = "/srv/mail/{domain[0]}/{domain}/{user[0]}/{user[1:3]}/{user}/Maildir"
            doveadm = "doveadm -c '/etc/dovecot/one instance.conf'"
            [[partition]]
            name = "second"
            hosts = ["store02", "store03"]
            format = "maildir"
            path = "/srv/second"
            doveadm = ["doveadm", "-o", "a b"]
            [groups]
            file = "g.conf"
            several = "first-match"
            ungrouped = "report"
            largest_unit = "1.5 GiB"
            off = ["a"]
            [exclude]
            folders = ["Junk", "Trash/*"]
            users = ["test[.].*", "[[:digit:]]+"]
            users_file = "nobody"
            [exclude.group.user]
            folders = ["Old"]
            [retention]
            last = 7
            daily = 14
            weekly = 8
            monthly = 12
            yearly = 5
            compact_below = 0.25
            alarm_share = 1
            [retention.group.a]
            last = 30
            [dispatch]
            engine = "ray"
            workers_per_host = 2
            window = "22:00-06:00"
            address = "staging01:6379"
            token_file = "ray.token"
            tls = { cert = "/tls/host.pem", key = "/tls/host.key", ca = "/tls/ca.pem" }
            host_patience = "5m"
            [load]
            bytes_per_second = "50 MB"
            messages_per_second = 2000
            nice = 10
            ionice = "idle"
            ramp = "5m"
            [archive]
            codec = "zstd"
            level = 9
            [metrics]
            listen = "127.0.0.1:9410"
            textfile = "mailhaul.prom"
            [log]
            file = "/var/log/mailhaul.log"
            [[destination]]
            name = "vault"
            kind = "directory"
            path = "mnt/vault"
            [[destination]]
            name = "elsewhere"
            kind = "command"
            put = ["keep", "{name}"]
            get = ["bring", "{name}"]
            stat = ["size", "{name}"]
            list = ["names", "{prefix}"]
            remove = ["forget", "{name}"]
            time_limit = "90s"
            capacity = "2 TB"
            [[destination]]
            name = "ceph"
            kind = "s3"
            endpoint = "https://s3.example.org"
            bucket = "mail"
            prefix = "site1"
            region = "eu"
            credentials = "ceph.env"
            ca_file = "/ca.pem"
            lock = "compliance"
            legal_hold = true
            storage_class = "STANDARD_IA"
            tags = { b = "2", a = "1" }
            part_threads = 2
            requests_per_second = 9
            thaw_days = 3
            capacity = "50 TB"
            thaw_tier = "Bulk"
            [[destination]]
            name = "files"
            kind = "tape"
            file = "drive0"
            capacity = "2 GB"
            pool = "weekly"
            allocation = "week"
            reuse_after = "30 days"
            record = "10 KiB"
            label_blanks = true
            load_time = "10m"
            buffer = "8 MiB"
            [[destination]]
            name = "drives"
            kind = "tape"
            device = ["/dev/tape/by-id/a-nst", "/dev/tape/by-id/b-nst"]
            changer = "/dev/tape/by-id/c-changer"
            [sweep]
            copies = ["vault", "elsewhere"]
            after = "2h"
            keep_staged = "7 days"
            keep_newest = false
            streams = 8
            bytes_per_second = "50 MB"
            requests_per_second = 20
            look_again = "1 day"
            [sweep.group.a]
            copies = []
            keep_staged = "1 hour"
        """
        (tmp_path / "nobody").write_text("# left\njane@example.org\n")
        loaded = config.load(write(tmp_path, text, groups="a=[[:alpha:]].*\n"))
        first, second = loaded.partitions
        assert loaded.staging == StagingConfig(
            path=Path("/var/spool/mailhaul"),
            host="staging01",
            listen="tcp://0.0.0.0:7400",
            address="tcp://staging01:7400",
            keys=tmp_path / "keys",
            reserve_bytes=2 * 2**30,
            patience_seconds=90,
        )
        assert (first.name, first.hosts) == ("primary", ("store01.example.org",))
        assert first.doveadm == ("doveadm", "-c", "/etc/dovecot/one instance.conf")
        assert (second.hosts, second.path, second.doveadm) == (
            ("store02", "store03"),
            "/srv/second",
            ("doveadm", "-o", "a b"),
        )
        assert [group.name for group in loaded.groups.rules.definitions] == ["a"]
        assert (loaded.groups.rules.several, loaded.groups.rules.ungrouped) == ("first-match", "report")
        assert loaded.groups.largest_unit_bytes == 3 * 2**29
        assert loaded.groups.off == {"a"}
        assert loaded.exclude.folders == ("Junk", "Trash/*")
        assert loaded.exclude.group_folders == {"user": ("Old",)}
        left = ("test.ann", "4711", "jane@example.org")
        assert [user for user in (*left, "testxann", "john") if loaded.exclude.leaves_out(user)] == [*left]
        assert loaded.retention == RetentionConfig(
            rules=RetentionRules(last=7, daily=14, weekly=8, monthly=12, yearly=5),
            groups={"a": RetentionRules(last=30)},
            compact_below=0.25,
            alarm_share=1.0,
        )
        assert loaded.retention.of_group("a") == RetentionRules(last=30)
        assert loaded.retention.of_group("b").last == 7
        assert loaded.dispatch == DispatchConfig(
            engine="ray",
            workers_per_host=2,
            window=Window.parse("22:00-06:00"),
            address="staging01:6379",
            token_file=tmp_path / "ray.token",
            tls=TlsConfig(cert=Path("/tls/host.pem"), key=Path("/tls/host.key"), ca=Path("/tls/ca.pem")),
            host_patience_seconds=300,
        )
        assert loaded.load == LoadLimits(
            bytes_per_second=50_000_000, messages_per_second=2000, nice=10, ionice="idle", ramp_seconds=300
        )
        assert loaded.archive == ArchiveConfig(codec="zstd", level=9)
        assert loaded.metrics == MetricsConfig(listen="127.0.0.1:9410", textfile=tmp_path / "mailhaul.prom")
        assert loaded.log == LogConfig(file=Path("/var/log/mailhaul.log"))
        assert loaded.destinations == (
            DirectoryDestination(name="vault", path=str(tmp_path / "mnt/vault")),
            CommandDestination(
                name="elsewhere",
                put=("keep", "{name}"),
                get=("bring", "{name}"),
                stat=("size", "{name}"),
                list=("names", "{prefix}"),
                remove=("forget", "{name}"),
                limit_seconds=90,
                capacity_bytes=2 * 10**12,
            ),
            S3Destination(
                name="ceph",
                bucket="mail",
                journal="/var/spool/mailhaul/.mailhaul/destinations/ceph",
                endpoint="https://s3.example.org",
                prefix="site1/",
                region="eu",
                credentials=str(tmp_path / "ceph.env"),
                ca_file="/ca.pem",
                lock="compliance",
                legal_hold=True,
                storage_class="STANDARD_IA",
                tags=(("a", "1"), ("b", "2")),
                part_threads=2,
                requests_per_second=9,
                thaw_days=3,
                capacity_bytes=50 * 10**12,
                thaw_tier="Bulk",
            ),
            TapeDestination(
                name="files",
                state="/var/spool/mailhaul/.mailhaul/destinations/files",
                file=str(tmp_path / "drive0"),
                pool="weekly",
                allocation="week",
                record_bytes=10_240,
                capacity_bytes=2 * 10**9,
                reuse_seconds=30 * 86400,
                label_blanks=True,
                load_seconds=600,
                buffer_bytes=8 << 20,
            ),
            TapeDestination(
                name="drives",
                state="/var/spool/mailhaul/.mailhaul/destinations/drives",
                devices=("/dev/tape/by-id/a-nst", "/dev/tape/by-id/b-nst"),
                changer="/dev/tape/by-id/c-changer",
            ),
        )
        rules = SweepRules(
            copies=("vault", "elsewhere"),
            after_seconds=7200,
            keep_staged_seconds=7 * 86400,
            keep_newest=False,
        )
        assert loaded.sweep == SweepConfig(
            rules=rules,
            groups={"a": replace(rules, copies=(), keep_staged_seconds=3600)},
            streams=8,
            bytes_per_second=50_000_000,
            requests_per_second=20,
            look_again_seconds=86400,
        )
        assert loaded.sweep.of_group("a").copies == ()
        assert loaded.sweep.of_group("b") == rules
        assert pickle.loads(pickle.dumps(loaded)) == loaded

    @pytest.mark.parametrize(
        ("size", "size_bytes"),
        [("1 MiB", 2**20), ("20GiB", 20 * 2**30), ("2 tb", 2 * 10**12), ("1.5 GB", 1_500_000_000)],
    )
    def test_sizes(self, tmp_path: Path, size: str, size_bytes: int) -> None:
        loaded = config.load(write(tmp_path, f'{MINIMAL}[groups]\nlargest_unit = "{size}"'))
        assert loaded.groups.largest_unit_bytes == size_bytes

    def test_governed_hosts_have_what_is_said_of_all(self, tmp_path: Path) -> None:
        text = (
            MINIMAL
            + """
            [governor]
            target = "150ms"
            blind = 0.5
            user = "probe"
            password_file = "probe.password"
            [governor.host.localhost]
            server = "imap://localhost:1143"
            target = "2s"
            window = "30s"
        """
        )
        loaded = config.load(write(tmp_path, text))
        probe = ProbeAccount(
            server="imap://localhost:1143", user="probe", password_file=str(tmp_path / "probe.password")
        )
        rules = Rules(target_seconds=2.0, blind=0.5)
        expected = HostRules(host="localhost", probe=probe, rules=rules, window_seconds=30.0)
        assert loaded.governor.hosts == {"localhost": expected}
        assert loaded.load.governor == loaded.governor.name != ""
        assert config.load(write(tmp_path, MINIMAL)).load == LoadLimits()

    def test_relative_paths_start_at_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "etc").mkdir()
        write(tmp_path / "etc", MINIMAL + '[groups]\nfile = "g.conf"', groups="a=b")
        monkeypatch.chdir(tmp_path)
        loaded = config.load(Path("etc/mailhaul.toml"))
        assert loaded.staging.path == tmp_path / "etc" / "staging"
        assert len(loaded.groups.rules.definitions) == 1

    def test_a_byte_order_mark_does_no_harm(self, tmp_path: Path) -> None:
        assert config.load(write(tmp_path, b"\xef\xbb\xbf" + MINIMAL.encode()))


class TestTemplates:
    def test_they_load_as_written(self, tmp_path: Path) -> None:
        (tmp_path / "mailhaul.toml").write_text(config.CONFIG_TEMPLATE)
        (tmp_path / "backup-groups.conf").write_text(config.GROUPS_TEMPLATE)
        loaded = config.load(tmp_path / "mailhaul.toml")
        assert loaded.groups == GroupsConfig()
        assert loaded.dispatch == DispatchConfig()
        assert loaded.archive == ArchiveConfig()
        assert (loaded.exclude, loaded.retention) == (ExcludeConfig(), RetentionConfig())

    def test_what_they_only_suggest_loads_too(self, tmp_path: Path) -> None:
        """Every comment that looks like a setting is one; those of several hosts need others beside them."""
        before, hosts, after = config.CONFIG_TEMPLATE.partition("# host =")
        text = before + hosts + re.sub(r"(?m)^# (?=\[+\w|\w+ = )", "", after)
        for several in ("listen", "address", "keys", "hosts"):
            text = re.sub(rf"(?m)^{several} = ", f"# {several} = ", text)
        text = text.replace('codec = "lz4"', 'codec = "zstd"')
        (tmp_path / "excluded-users").write_text("test@example.org\n")
        (tmp_path / "mailhaul.toml").write_text(text)
        (tmp_path / "backup-groups.conf").write_text(config.GROUPS_TEMPLATE.replace("# group", "group"))
        loaded = config.load(tmp_path / "mailhaul.toml")
        assert loaded.partitions[0].doveadm == ("doveadm",)
        assert [group.name for group in loaded.groups.rules.definitions] == ["groupA", "groupB"]
        assert loaded.sweep.of_group("groupA").copies == ("vault",)

    def test_every_key_is_in_the_template(self) -> None:
        for name, table in TABLES.items():
            for key in table.model_fields:
                tables = f"{name}.{key}".strip(".") in TABLES or name == ""
                expected = f"[{name}.{key}." if f"{name}.{key}.NAME" in TABLES else f"{key} = "
                assert tables or expected in config.CONFIG_TEMPLATE


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "staging is missing: expected a [staging] table\n"),
            ("", "partition is missing: expected one or more [[partition]] tables"),
            ("staging = 3\n" + PARTITION, "staging = 3: expected a [staging] table"),
            ("[staging]\n" + PARTITION, "staging.path is missing: expected a directory"),
            ('[staging]\npath=""\n' + PARTITION, "staging.path = '': expected a directory"),
            ('[staging]\npath="\\u0000"\n' + PARTITION, "staging.path = '\\x00': expected a directory"),
            (STAGING + "[partition]\n", "partition = {}: expected one or more [[partition]] tables"),
            ("partition = []\n" + STAGING, "partition = []: expected one or more [[partition]] tables"),
            ("partition = [3]\n" + STAGING, "partition[0] = 3: expected one or more [[partition]] tables"),
            ("x = ", "mailhaul.toml: expected TOML: Invalid value (at end of document)"),
            ("a = 1\nb = x", "mailhaul.toml: expected TOML: Invalid value (at line 2, column 5)"),
            pytest.param("a = " + "[" * 5000, "mailhaul.toml: expected TOML: ", id="deep"),
            pytest.param("a = " + "9" * 5000, "mailhaul.toml: expected TOML: ", id="long"),
            (b"# caf\xe9", "mailhaul.toml: expected UTF-8 text: unexpected end of data at byte 5"),
        ],
    )
    def test_a_wrong_file(self, tmp_path: Path, text: str | bytes, expected: str) -> None:
        assert expected in refusal(tmp_path, text)

    @pytest.mark.parametrize(
        ("table", "line", "expected"),
        [
            ("", "nmae = 1", "partition[0].nmae: no such key; expected one of name, host, hosts, format"),
            ("[dispach]", "", "dispach: no such key; expected one of staging, partition, groups, exclude"),
            ("", 'name = "../x"', "partition[0].name = '../x': expected at most 100 letters"),
            ("", 'name = "a\\n"', "partition[0].name = 'a\\n': expected at most 100 letters"),
            ("", 'host = "a b"', "partition[0].host = 'a b': expected the name of a host"),
            ("", PARTITION, "partition[1].name = 'primary': expected a name that no other partition has"),
            ("", "doveadm = 3", "partition[0].doveadm = 3: expected a command"),
            ("", 'doveadm = ["a", 3]', "partition[0].doveadm[1] = 3: expected a command"),
            ("", 'doveadm = "it\'s"', "as one string or as a list of strings (No closing quotation)"),
            ("[dispatch]", 'engine = "dask"', "dispatch.engine = 'dask': expected 'local' or 'ray'"),
            ("[dispatch]", 'window = "22-6"', "dispatch.window = '22-6': expected times of the day such as"),
            ("[dispatch]", 'host_patience = "5"', "host_patience = '5': expected a time such as '90s'"),
            ("[dispatch]", 'tls = { cert = "a" }', "dispatch.tls.key is missing: expected a file"),
            ("[dispatch]", 'tls = { certs = "a" }', "dispatch.tls.certs: no such key; expected one of cert"),
            ("[load]", 'bytes_per_second = "fast"', "load.bytes_per_second = 'fast': expected a size such"),
            ("[load]", "nice = 20", "load.nice = 20: expected a whole number from 0 to 19"),
            ("[load]", 'ionice = "rt"', "load.ionice = 'rt': expected 'idle' or 'best-effort'"),
            ("[metrics]", 'listen = "9410"', "metrics.listen = '9410': expected an address such as"),
            ("", "hosts = []", "partition[0].hosts = []: expected a list of the names of the hosts"),
            ("", 'hosts = ["a", "a"]', "partition[0].hosts = ['a', 'a']: expected a list of the names"),
            (
                "",
                'host = "a"\nhosts = ["b"]',
                "partition[0].hosts = ('b',): expected host or hosts, not both",
            ),
            ("[dispatch]", "workers_per_host = 0", "workers_per_host = 0: expected a whole number from 1"),
            ("[dispatch]", 'workers_per_host = "4"', "workers_per_host = '4': expected a whole number"),
            ("[dispatch]", "workers_per_host = true", "workers_per_host = True: expected a whole number"),
            ("[archive]", 'codec = "gzip"', "archive.codec = 'gzip': expected 'lz4' or 'zstd'"),
            ("[archive]", 'codec = "zstd"\nlevel = 23', "level = 23: expected a whole number from 1 to 22"),
            ("[archive]", "level = 3", "archive.level = 3: expected no level without codec = 'zstd'"),
            ("[groups]", 'several = "all"', "several = 'all': expected 'report', 'first-match' or 'error'"),
            ("[groups]", 'ungrouped = "skip"', "groups.ungrouped = 'skip': expected 'user' or 'report'"),
            ("[groups]", 'largest_unit = "20"', "largest_unit = '20': expected a size of at least 1 MiB"),
            ("[groups]", "largest_unit = 20", "largest_unit = 20: expected a size of at least 1 MiB"),
            ("[groups]", 'largest_unit = "1 kB"', "largest_unit = '1 kB': expected a size of at least"),
            ("[groups]", f'largest_unit = "{"9" * 400} TB"', "99…: expected a size of at least 1 MiB"),
            ("[groups]", 'off = ["a"]', "groups.off = 'a': expected names of groups that are defined: there"),
            ("[exclude]", "folders = ['a//b']", "folders[0] = 'a//b': expected a list of folder names such"),
            ("[exclude]", "folders = 'a'", "exclude.folders = 'a': expected a list of folder names such as"),
            ("[exclude]", "users = ['a(']", "exclude.users[0] = 'a(': expected a list of regular expres"),
            ("[exclude]", "users_file = 'none'", "none: expected a file that can be read: No such file"),
            ("[exclude.group.nix]", "folders = []", "exclude.group = 'nix': expected names of groups that"),
            ("[exclude.group.user]", "", "exclude.group.user.folders is missing: expected a list of folder"),
            ("[exclude.group.user]", "x = 1", "exclude.group.user.x: no such key; expected one of folders"),
            ("[exclude]", "group = 3", "exclude.group = 3: expected a table [exclude.group.NAME] for each"),
            ("[exclude]", "group.user = 3", "exclude.group.user = 3: expected a table [exclude.group.NAME]"),
            ("[retention]", "last = 0", "retention.last = 0: expected a whole number from 1"),
            ("[retention]", "alarm_share = 1.5", "alarm_share = 1.5: expected a number from 0 to 1"),
            ("[retention.group.user]", "dayly = 1", "retention.group.user.dayly: no such key; expected one"),
            ("[[destination]]", "", "destination[0].kind is missing: expected one of 'directory'"),
            ("[[destination]]", 'kind = "ftp"', "destination[0].kind = 'ftp': expected one of 'directory'"),
            ("[[destination]]", "kind = 3", "destination[0].kind = 3: expected one of 'directory'"),
            ("", "[destination]", "destination = {}: expected [[destination]] tables"),
            ("[[destination]]", 'kind = "directory"', "destination[0].name is missing: expected at most"),
            (VAULT, VAULT, "destination[1].name = 'vault': expected a name that no other destination has"),
            (
                VAULT.replace("vault", "confirmed"),
                "",
                "destination[0].name = 'confirmed': expected a name that",
            ),
            (VAULT, VAULT.replace('"v', '"V'), "destination[1].name = 'Vault': expected a name that no"),
            (VAULT.replace("vault", "staging"), "", "destination[0].name = 'staging': expected a name that"),
            (VAULT, 'prefix = "a"', "destination[0].prefix: no such key; expected one of name, kind, path"),
            (COMMAND, "put = []", "destination[0].put = []: expected a program and its arguments, a list"),
            (COMMAND, 'put = "a b"', "put = 'a b': expected a program and its arguments, a list of strings"),
            (COMMAND, 'put = "a b"', "(it is no list: nothing is split, and no shell is started)"),
            (COMMAND, 'put = ["a", 3]', "destination[0].put[1] = 3: expected a program and its arguments"),
            (COMMAND, 'put = ["a"]', "destination[0].get is missing: expected a program and its arguments"),
            (
                COMMAND,
                'put = ["a"]\nget = ["b"]',
                "destination 'elsewhere': stat and list are missing: expected",
            ),
            (S3, 'endpoint = "s3.example.org"', "endpoint = 's3.example.org': expected a URL such as"),
            (S3, 'lock = "yes"', "destination[0].lock = 'yes': expected 'governance' or 'compliance'"),
            (S3, "tags = { a = 1 }", "destination[0].tags.a = 1: expected a table of texts"),
            (
                S3,
                'prefix = "../x"',
                "destination[0].prefix = '../x': expected how the names of objects begin",
            ),
            (TAPE, "", "destination 'drive': file = None: expected either a file or a device"),
            (TAPE, 'file = "a"\ndevice = "/dev/tape/by-id/a-nst"', "expected either a file or a device"),
            (
                TAPE,
                'device = "/dev/st0"',
                "destination[0].device[0] = '/dev/st0': expected a drive that does",
            ),
            (TAPE, 'file = "a"\nrecord = "1 KB"', "record = '1 KB': expected a size from 10240 bytes to 8 M"),
            (TAPE, 'file = "a"\nallocation = "month"', "allocation = 'month': expected 'full', 'day' or '"),
            ("[sweep]", 'copies = ["tape"]', "sweep.copies = 'tape': expected names of destinations: confi"),
            (f"{VAULT}[sweep]", 'copies = ["x"]', "sweep.copies = 'x': expected names of destinations: vau"),
            ("[sweep.group.user]", 'copies = ["x"]', "sweep.group.user.copies = 'x': expected names of"),
            ("[sweep.group.nix]", "", "sweep.group = 'nix': expected names of groups that are defined"),
            ("[sweep]", 'keep_staged = "a week"', "keep_staged = 'a week': expected a time such as '12h'"),
            ("[sweep]", "streams = 0", "sweep.streams = 0: expected a whole number from 1 to 256"),
            (
                "[governor.host.nix]",
                "",
                "governor.host = 'nix': expected names of hosts that partitions have",
            ),
            ("[governor.host.localhost]", "", "governor.host.localhost.server is missing: expected imap://"),
            ("[governor.host.localhost]", 'adress = "x"', "governor.host.localhost.adress: no such key; ex"),
            ("[governor]", "host = 3", "governor.host = 3: expected a table [governor.host.NAME] for each"),
            ("[governor]", 'target = "150"', "governor.target = '150': expected a time such as '150ms'"),
            ("[governor]", 'target = "0ms"', "governor.target = '0ms': expected a time such as '150ms'"),
            ("[governor]", 'window = "1s"', "governor.window = '1s': expected a time from 10s to 1h"),
            ("[governor]", "floor = 0", "governor.floor = 0: expected a number from 0.02 to 1"),
            ("[governor]", 'server = "mail01"', "governor.server = 'mail01': expected imap://HOST[:PORT]"),
            ("[groups]", 'file = "none"', "file = 'none': expected a file that can be read: No such file"),
            ("[groups]", 'file = "."', "file = '.': expected a file that can be read: Is a directory"),
        ],
    )
    def test_a_wrong_value(self, tmp_path: Path, table: str, line: str, expected: str) -> None:
        assert expected in refusal(tmp_path, f"{MINIMAL}{table}\n{line}")

    @pytest.mark.parametrize(
        ("template", "reason"),
        [
            ("srv/{user}", "it is relative"),
            ("/srv/{usr}", "{usr} is no placeholder"),
            ("/srv/{user[a]}", "{user[a]} is no placeholder"),
            ("/srv/{user[-1]}/{user}", "{user[-1]} is no placeholder"),
            ("/srv/{user[:2]}/{user}", "{user[:2]} is no placeholder"),
            ("/srv/{}", "{} is no placeholder"),
            ("/srv/{user", "{user is no placeholder"),
            ("/srv/user}", "} is no placeholder"),
            ("/srv/{{user}}", "{ is no placeholder"),
            ("/srv/{domain}/Maildir", "{user} is missing"),
            ("/srv/{user[0]}/Maildir", "{user} is missing"),
        ],
    )
    def test_a_template_that_names_no_user(self, tmp_path: Path, template: str, reason: str) -> None:
        message = refusal(tmp_path, MINIMAL.replace("/srv/mail/{user}", template))
        assert f"partition[0].path = {template!r}: expected an absolute directory, with {{user}}" in message
        assert message.endswith(f"({reason})")

    def test_all_wrong_keys_are_told_at_once(self, tmp_path: Path) -> None:
        file = write(tmp_path, MINIMAL + "x = 1\n[dispatch]\nworkers_per_host = 0")
        with pytest.raises(ConfigError) as caught:
            config.load(file)
        assert len(caught.value.message.splitlines()) == 2
        assert caught.value.facts["keys"] == ["partition[0].x", "dispatch.workers_per_host"]

    def test_a_long_value_is_cut(self, tmp_path: Path) -> None:
        assert len(refusal(tmp_path, f'{MINIMAL}[archive]\ncodec = "{"x" * 9999}"')) < 300

    def test_errors_of_the_groups_file_name_it(self, tmp_path: Path) -> None:
        text = MINIMAL + '[groups]\nfile = "g.conf"'
        assert refusal(tmp_path, text, groups="\na=(").startswith("g.conf, line 2: expected a regular")
        assert "groups.file = 'g.conf': expected UTF-8" in refusal(tmp_path, text, groups=b"a=\xff")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.toml: expected a file that can be read: No such file"):
            config.load(tmp_path / "none.toml")


class TestHosts:
    def several(self, first: str, second: str, engine: str, more: str = "") -> str:
        """Two partitions, on these hosts."""
        one = PARTITION + f'host = "{first}"\n'
        two = PARTITION + f'name = "second"\nhost = "{second}"\n'
        return f'{STAGING}{more}{one}{two}[dispatch]\nengine = "{engine}"\n'

    def test_one_host_may_have_any_name(self, tmp_path: Path) -> None:
        loaded = config.load(write(tmp_path, self.several("store01", "store01", "local")))
        assert {partition.hosts for partition in loaded.partitions} == {("store01",)}

    def test_several_hosts_need_a_cluster(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, self.several("store01", "store02", "local"))
        assert "engine = 'local': expected 'ray', as there are several hosts: store01, store02" in message
        message = refusal(tmp_path, self.several("store01", "store01", "local", 'host = "staging01"\n'))
        assert "dispatch.engine = 'local': expected 'ray'" in message

    def test_other_hosts_need_a_way_to_the_staging_area(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, self.several("store01", "store02", "ray", 'host = "staging01"\n'))
        assert "staging.listen is missing: expected a ZeroMQ address" in message
        ways = 'host = "staging01"\nlisten = "tcp://*:7400"\n'
        message = refusal(tmp_path, self.several("store01", "store02", "ray", ways))
        assert "staging.address is missing" in message
        ways += 'address = "tcp://[::1]:7400"\n'
        assert config.load(write(tmp_path, self.several("store01", "store02", "ray", ways)))

    def test_a_cluster_of_the_staging_host_alone_needs_none(self, tmp_path: Path) -> None:
        text = self.several("store01", "store01", "ray", 'host = "store01"\n')
        assert config.load(write(tmp_path, text)).dispatch.engine == "ray"


class TestSchedule:
    GROUPS = "sales=s.*\nstaff=t.*\n"
    BASE = MINIMAL + '[groups]\nfile = "g.conf"\n[schedule]\n'

    def test_all_keys(self, tmp_path: Path) -> None:
        text = f"""{self.BASE}
            zone = "Europe/Berlin"
            order = "serial"
            backup = ["02:00", "14:00"]
            full = "sun 02:00"
            sweep = "0 */6 * * *"
            purge = "sat 12:00"
            verify = "sat 08:00"
            verify_older_than = "90d"
            verify_from = ["vault"]
            drill = "05:00"
            inventory = "mon 07:00"
            [schedule.group.sales]
            backup = "mon-fri 23:00"
            full = []
            sweep = "03:00"
            {VAULT}"""
        found = config.load(write(tmp_path, text, groups=self.GROUPS)).schedule
        assert found == ScheduleConfig(
            zone="Europe/Berlin",
            order="serial",
            backup=(Timing("02:00", "0 2 * * *"), Timing("14:00", "0 14 * * *")),
            full=(Timing("sun 02:00", "0 2 * * 0"),),
            sweep=(Timing("0 */6 * * *", "0 */6 * * *"),),
            purge=(Timing("sat 12:00", "0 12 * * 6"),),
            verify=(Timing("sat 08:00", "0 8 * * 6"),),
            verify_older_than_seconds=90 * 86_400.0,
            verify_from=("vault",),
            drill=(Timing("05:00", "0 5 * * *"),),
            inventory=(Timing("mon 07:00", "0 7 * * 1"),),
            groups={
                "sales": GroupTimes(
                    backup=(Timing("mon-fri 23:00", "0 23 * * 1,2,3,4,5"),),
                    full=(),
                    sweep=(Timing("03:00", "0 3 * * *"),),
                )
            },
        )

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('backup = "25:00"', "schedule.backup = '25:00': expected a time such as '02:00', 'sun 02:00'"),
            ('backup = "25:00"', "(25:00 is no time of the day)"),
            ('full = ["02:00", "son 02:00"]', "('son' is no day: expected one of sun, mon, "),
            ('purge = "61 2 * * *"', "schedule.purge = '61 2 * * *': expected a time such as"),
            ("sweep = 2", "schedule.sweep = 2: expected a time such as"),
            ('zone = "Europe/Berlinn"', "schedule.zone = 'Europe/Berlinn': expected the name of a time zone"),
            ('zone = "Europe/Berlinn"', "(there is no such zone)"),
            ('order = "both"', "schedule.order = 'both': expected 'parallel' or 'serial'"),
            ('verify_from = ["vault"]', "schedule.verify_from = 'vault': expected names of destinations:"),
            ("restore = 1", "schedule.restore: no such key; expected one of zone, order, backup, full,"),
            ("[schedule.group.sale]", "schedule.group = 'sale': expected names of groups that are"),
            ("[schedule.group.user]", "schedule.group = 'user': expected names of groups that are"),
            ('[schedule.group.sales]\nfull = "x"', "schedule.group.sales.full = 'x': expected a time"),
            ("[schedule.group.sales]\nzone = 1", "schedule.group.sales.zone: no such key; expected one"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_told(self, tmp_path: Path, text: str, told: str) -> None:
        assert told in refusal(tmp_path, self.BASE + text, groups=self.GROUPS)
