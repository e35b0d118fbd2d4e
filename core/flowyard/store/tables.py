"""The tables of flows, runs and what records them, and why each index is there; other nouns have theirs beside them.

There are no foreign keys on purpose: checking them costs 2.3 microseconds on top of the 15 that the four rows of a
task run cost SQLite, and only `store` writes these tables; `flow_runs.delete_flow_run` deletes what hangs on a run. On
SQLite the tables are clustered by their primary key (`WITHOUT ROWID`): one b-tree instead of two.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    column,
    event,
    table,
    text,
)

from flowyard.store.types import Duration, Identifier, Json, PlainText, Timestamp

metadata = MetaData()
# One object of each type: SQLAlchemy prepares each object for the database anew, a cost at the start of every script.
# Used by the modules of other nouns too, whose tables belong to `metadata` as well.
ID, TEXT, JSON, TIME, DURATION = Identifier(), PlainText(), Json(), Timestamp(), Duration()

COUNTED = ("expected_start_time", "start_time", "total_run_time")
"""What charts count of runs, beside their states."""

flow = Table(
    "flow",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("name", name="uq_flow__name"),
    sqlite_with_rowid=False,
)

flow_run = Table(
    "flow_run",
    metadata,
    Column("id", ID, primary_key=True),
    Column("flow_id", ID, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("flow_version", TEXT),
    Column("parameters", JSON, nullable=False),
    Column("context", JSON, nullable=False),
    Column("empirical_policy", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("parent_task_run_id", ID),
    Column("deployment_id", ID),
    Column("infrastructure_pid", Text),
    Column("idempotency_key", TEXT),
    Column("start_info", JSON, nullable=False),
    Column("state_id", ID),
    Column("state_type", Text),
    Column("state_name", TEXT),
    Column("state_timestamp", TIME),
    Column("run_count", Integer, nullable=False),
    Column("expected_start_time", TIME),
    Column("next_scheduled_start_time", TIME),
    Column("start_time", TIME),
    Column("end_time", TIME),
    Column("total_run_time", DURATION, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    # What only a server knows of a run; NULL for those that it did not hand out.
    Column("deployment_version", TEXT),
    Column("work_queue_id", ID),
    Column("work_queue_name", TEXT),
    Column("auto_scheduled", Boolean),
    Column("infrastructure_document_id", ID),
    Column("created_by", JSON),
    Column("job_variables", JSON),
    # Runs of one flow, newest first; a creation with an idempotency key finds the run that is there already.
    Index("ix_flow_run__flow_id", "flow_id", "id"),
    Index("uq_flow_run__flow_id_idempotency_key", "flow_id", "idempotency_key", unique=True),
    # Runs in a state, newest first: the reaper, the scheduler and every list of what is running. On SQLite with the
    # tags, so that a rare one is looked for in the index alone (8 ms instead of 61 among 100,000 runs); PostgreSQL,
    # whose entries cannot be long, has an index of tags: see below.
    Index("ix_flow_run__state_type", "state_type", "id", "tags").ddl_if(dialect="sqlite"),
    Index("ix_flow_run__state_type", "state_type", "id").ddl_if(dialect="postgresql"),
    # How many there are in each state, and over time: `histories` counts within the index, a range of it for each
    # interval, in a quarter of the time that sorting the rows takes. With the tags on SQLite, as above.
    Index("ix_flow_run__state_name", *("state_type", "state_name"), *COUNTED, "tags").ddl_if(dialect="sqlite"),
    Index("ix_flow_run__state_name", *("state_type", "state_name"), *COUNTED).ddl_if(dialect="postgresql"),
    # The subflow run of a task run.
    Index("ix_flow_run__parent_task_run_id", "parent_task_run_id"),
    # The orders of lists, each with the id that breaks ties and begins the next page. A flow run is written about
    # three times, each time durably: four more entries a time are not seen beside that.
    Index("ix_flow_run__name", "name", "id"),
    Index("ix_flow_run__expected_start_time", "expected_start_time", "id"),
    Index("ix_flow_run__start", text("coalesce(start_time, expected_start_time)"), "id"),
    Index("ix_flow_run__end_time", "end_time", "id"),
    # What is handed out to workers, and the runs of a deployment; on SQLite without an entry for runs that have none
    # (the same for PostgreSQL would load its side of SQLAlchemy in every script that makes a database).
    Index(
        "ix_flow_run__work_queue_id",
        *("work_queue_id", "next_scheduled_start_time"),
        sqlite_where=text("work_queue_id IS NOT NULL"),
    ),
    Index(
        "ix_flow_run__deployment_id",
        *("deployment_id", "id"),
        sqlite_where=text("deployment_id IS NOT NULL"),
    ),
    # What is due: late runs, and lists of what comes next.
    Index(
        "ix_flow_run__next_scheduled_start_time",
        *("next_scheduled_start_time", "id"),
        sqlite_where=text("next_scheduled_start_time IS NOT NULL"),
    ),
)

_GIN = DDL("CREATE INDEX ix_flow_run__tags ON flow_run USING gin (tags jsonb_path_ops)")
# As text: an `Index` with an option of PostgreSQL's would load that side of SQLAlchemy for databases of every kind.
event.listen(flow_run, "after_create", _GIN.execute_if(dialect="postgresql"))

# The same for SQLite, which has no index of the items of a list: a table, in which `flow_runs` puts the tags of a new
# run and triggers the rest. (A trigger of the insertion doubles its 25 microseconds, also for runs without tags.) To
# look for a rare tag in the index of states takes 20 ms among 100,000 runs.
flow_run_tag = table("flow_run_tag", column("tag", TEXT), column("flow_run_id", ID))
_REMOVE_TAGS = "DELETE FROM flow_run_tag WHERE flow_run_id = old.id AND tag IN (SELECT value FROM json_each(old.tags))"
for _statement in (
    "CREATE TABLE flow_run_tag (tag TEXT NOT NULL, flow_run_id BLOB NOT NULL, PRIMARY KEY (tag, flow_run_id)) "
    "WITHOUT ROWID",
    "CREATE TRIGGER flow_run_tag__update AFTER UPDATE OF tags ON flow_run WHEN new.tags <> old.tags "
    f"BEGIN {_REMOVE_TAGS}; INSERT INTO flow_run_tag SELECT DISTINCT value, new.id FROM json_each(new.tags); END",
    f"CREATE TRIGGER flow_run_tag__delete AFTER DELETE ON flow_run WHEN old.tags <> '[]' BEGIN {_REMOVE_TAGS}; END",
):
    event.listen(flow_run, "after_create", DDL(_statement).execute_if(dialect="sqlite"))
event.listen(flow_run, "after_drop", DDL("DROP TABLE IF EXISTS flow_run_tag").execute_if(dialect="sqlite"))

flow_run_state = Table(
    "flow_run_state",
    metadata,
    # The key of the run comes first: the states of a run are neighbours, and no second index is needed.
    Column("flow_run_id", ID, primary_key=True),
    Column("id", ID, primary_key=True),
    Column("type", Text, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("message", TEXT),
    Column("timestamp", TIME, nullable=False),
    Column("state_details", JSON),
    Column("data", JSON),
    # A state by its own id, for the REST API. States of task runs, on the hot path, are found another way.
    Index("ix_flow_run_state__id", "id"),
    sqlite_with_rowid=False,
)

task_run = Table(
    "task_run",
    metadata,
    Column("id", ID, primary_key=True),
    Column("flow_run_id", ID),
    Column("parent_task_run_id", ID),
    Column("task_key", TEXT, nullable=False),
    Column("dynamic_key", TEXT, nullable=False),
    Column("task_name", TEXT, nullable=False),
    Column("task_version", TEXT),
    Column("tags", JSON, nullable=False),
    Column("empirical_policy", JSON, nullable=False),
    Column("task_inputs", JSON, nullable=False),
    Column("created", TIME, nullable=False),
    # From here on what the upsert of the hot path changes; `bulk` relies on the names, not on the order.
    Column("name", TEXT, nullable=False),
    Column("cache_key", TEXT),
    Column("cache_expiration", TIME),
    Column("flow_run_run_count", Integer, nullable=False),
    Column("state_id", ID),
    Column("state_type", Text),
    Column("state_name", TEXT),
    Column("state_timestamp", TIME),
    Column("run_count", Integer, nullable=False),
    Column("expected_start_time", TIME),
    Column("next_scheduled_start_time", TIME),
    Column("start_time", TIME),
    Column("end_time", TIME),
    Column("total_run_time", DURATION, nullable=False),
    Column("updated", TIME, nullable=False),
    # What was measured where it ran; NULL for most that ran in the flow's process.
    Column("metrics", JSON),
    # The first of two indexes on the hot path (about 1.5 microseconds a task run): the task runs of a flow run, newest
    # first, for lists, resuming, deleting and reaping. A unique key over (flow_run_id, task_key, dynamic_key) would
    # cost 5 more; the engine makes dynamic keys under the run's lease, so nobody else can make the same.
    Index("ix_task_run__flow_run_id", "flow_run_id", "id"),
    # The second, of about 2 microseconds a task run: the charts of a flow run of 100,000, as those of flow runs above
    # (30 ms instead of 145).
    Index("ix_task_run__state_name", "flow_run_id", "state_type", "state_name", *COUNTED),
    sqlite_with_rowid=False,
)

task_run_state = Table(
    "task_run_state",
    metadata,
    Column("task_run_id", ID, primary_key=True),
    Column("id", ID, primary_key=True),
    Column("type", Text, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("message", TEXT),
    Column("timestamp", TIME, nullable=False),
    Column("state_details", JSON),
    Column("data", JSON),
    sqlite_with_rowid=False,
)

log = Table(
    "log",
    metadata,
    # Lines of one run are neighbours, in the order of time: the id is a UUIDv7 made from the line's own timestamp, so
    # one b-tree serves the list, its order and its keyset paging. Lines outside of a flow run have the nil UUID.
    Column("flow_run_id", ID, primary_key=True),
    Column("id", ID, primary_key=True),
    Column("task_run_id", ID),
    Column("name", TEXT, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("message", TEXT, nullable=False),
    Column("timestamp", TIME, nullable=False),
    # The lines of a task run, which are a few among those of its flow run (about 1.5 microseconds a line; looking for
    # them took 130 ms among a million).
    Index("ix_log__task_run_id", *("task_run_id", "id"), sqlite_where=text("task_run_id IS NOT NULL")),
    sqlite_with_rowid=False,
)

lease = Table(
    "lease",
    metadata,
    Column("flow_run_id", ID, primary_key=True),
    # Grows with every owner; commits that carry an older one are refused.
    Column("token", BigInteger, nullable=False),
    # The sequence of the last journal batch that was committed under this token.
    Column("last_batch", BigInteger, nullable=False),
    # None when the run was released.
    Column("owner_id", ID),
    Column("host", TEXT),
    Column("pid", Integer),
    Column("process_start_time", TIME),
    Column("lock_path", TEXT),
    Column("acquired", TIME),
    # None when only the operating system's lock counts (an owner on the same host).
    Column("expires", TIME),
    # What the reaper looks at: the runs that have an owner, few at any time.
    Index("ix_lease__owner_id", "owner_id"),
    sqlite_with_rowid=False,
)

rollup = Table(
    "rollup",
    metadata,
    # Task runs of a flow run by task and state, kept in step with `task_run` by `projection` and `rollups`.
    Column("flow_run_id", ID, primary_key=True),
    Column("task_name", TEXT, primary_key=True),
    Column("state_name", TEXT, primary_key=True),
    Column("state_type", Text, primary_key=True),
    Column("count", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# Alembic's own table, under Alembic's names: its version can be read without importing Alembic.
version_metadata = MetaData()
alembic_version = Table("alembic_version", version_metadata, Column("version_num", Text, primary_key=True))
