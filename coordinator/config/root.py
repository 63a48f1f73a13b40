"""``mailhaul.toml`` as a whole: its tables by their names. Each area has a module for its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .drill_table import DrillTable
from .governor_tables import GovernorHostTable, GovernorTable
from .notices_tables import NoticesTable, ReceiverTable, SwitchTable
from .schedule_tables import GroupScheduleTable, ScheduleTable
from .serving import ProxyTable, ServeTable
from .tables import (
    ArchiveTable,
    CommandTable,
    DirectoryTable,
    DispatchTable,
    EncryptionTable,
    ExcludeTable,
    GroupExcludeTable,
    GroupsTable,
    HooksTable,
    HookTable,
    LoadTable,
    LogTable,
    MetricsTable,
    PartitionTable,
    RetentionTable,
    RulesTable,
    S3Table,
    StagingTable,
    SweepRulesTable,
    SweepTable,
    Table,
    TapeTable,
    TlsTable,
)


class Root(Table):
    staging: StagingTable = Field(description="a [staging] table")
    partition: Annotated[list[PartitionTable], Field(min_length=1)] = Field(
        description="one or more [[partition]] tables"
    )
    groups: GroupsTable = Field(default=GroupsTable(), description="a [groups] table")
    exclude: ExcludeTable = Field(default=ExcludeTable(), description="an [exclude] table")
    retention: RetentionTable = Field(default=RetentionTable(), description="a [retention] table")
    dispatch: DispatchTable = Field(default=DispatchTable(), description="a [dispatch] table")
    load: LoadTable = Field(default=LoadTable(), description="a [load] table")
    governor: GovernorTable = Field(default=GovernorTable(), description="a [governor] table")
    archive: ArchiveTable = Field(default=ArchiveTable(), description="an [archive] table")
    encryption: EncryptionTable = Field(default=EncryptionTable(), description="an [encryption] table")
    metrics: MetricsTable = Field(default=MetricsTable(), description="a [metrics] table")
    log: LogTable = Field(default=LogTable(), description="a [log] table")
    hooks: HooksTable = Field(default=HooksTable(), description="a [hooks] table")
    destination: list[
        Annotated[DirectoryTable | S3Table | TapeTable | CommandTable, Field(discriminator="kind")]
    ] = Field(default=[], description="[[destination]] tables")
    sweep: SweepTable = Field(default=SweepTable(), description="a [sweep] table")
    schedule: ScheduleTable = Field(default=ScheduleTable(), description="a [schedule] table")
    notices: NoticesTable = Field(default=NoticesTable(), description="a [notices] table")
    drill: DrillTable = Field(default=DrillTable(), description="a [drill] table")
    serve: ServeTable = Field(default=ServeTable(), description="a [serve] table")


TABLES: dict[str, type[Table]] = {
    "": Root,
    "staging": StagingTable,
    "partition": PartitionTable,
    "groups": GroupsTable,
    "exclude": ExcludeTable,
    "exclude.group.NAME": GroupExcludeTable,
    "retention": RetentionTable,
    "retention.group.NAME": RulesTable,
    "dispatch": DispatchTable,
    "dispatch.tls": TlsTable,
    "load": LoadTable,
    "governor": GovernorTable,
    "governor.host.NAME": GovernorHostTable,
    "archive": ArchiveTable,
    "encryption": EncryptionTable,
    "metrics": MetricsTable,
    "log": LogTable,
    "hooks": HooksTable,
    **{f"hooks.{name}": HookTable for name in HooksTable.model_fields if name != "limit"},
    "destination.directory": DirectoryTable,
    "destination.s3": S3Table,
    "destination.tape": TapeTable,
    "destination.command": CommandTable,
    "sweep": SweepTable,
    "sweep.group.NAME": SweepRulesTable,
    "schedule": ScheduleTable,
    "schedule.group.NAME": GroupScheduleTable,
    "notices": NoticesTable,
    "notices.to": ReceiverTable,
    "notices.switch": SwitchTable,
    "drill": DrillTable,
    "serve": ServeTable,
    "serve.proxy": ProxyTable,
}
"""By their names; NAME stands for that of a group, or of a host. Of destinations each kind has its own."""
