"""The tables of deployments and their schedules, of work pools, their queues and their workers.

Whoever deletes a row deletes what hangs on it: there are no foreign keys, see `tables`.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text, UniqueConstraint

from flowyard.store.tables import ID, JSON, TEXT, TIME, metadata

work_pool = Table(
    "work_pool",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT),
    Column("type", TEXT, nullable=False),
    Column("base_job_template", JSON, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("concurrency_limit", Integer),
    Column("status", Text, nullable=False),
    Column("default_queue_id", ID, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("name", name="uq_work_pool__name"),
    sqlite_with_rowid=False,
)

work_queue = Table(
    "work_queue",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("filter", JSON),
    Column("description", TEXT, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("concurrency_limit", Integer),
    Column("priority", Integer, nullable=False),
    Column("last_polled", TIME),
    Column("status", Text, nullable=False),
    Column("work_pool_id", ID, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    # The queues of a pool, too.
    UniqueConstraint("work_pool_id", "name", name="uq_work_queue__work_pool_id_name"),
    sqlite_with_rowid=False,
)

worker = Table(
    "worker",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("work_pool_id", ID, nullable=False),
    Column("last_heartbeat_time", TIME, nullable=False),
    Column("heartbeat_interval_seconds", Integer),
    Column("status", Text, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    # The workers of a pool, too.
    UniqueConstraint("work_pool_id", "name", name="uq_worker__work_pool_id_name"),
    sqlite_with_rowid=False,
)

deployment = Table(
    "deployment",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("flow_id", ID, nullable=False),
    Column("version", TEXT),
    Column("description", TEXT),
    Column("paused", Boolean, nullable=False),
    Column("job_variables", JSON, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("work_queue_id", ID),
    Column("last_polled", TIME),
    Column("parameter_openapi_schema", JSON),
    Column("enforce_parameter_schema", Boolean, nullable=False),
    Column("path", TEXT),
    Column("pull_steps", JSON),
    Column("entrypoint", TEXT),
    Column("manifest_path", TEXT),
    Column("storage_document_id", ID),
    Column("infrastructure_document_id", ID),
    Column("created_by", JSON),
    Column("updated_by", JSON),
    Column("status", Text, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    # A deployment is known by its flow and its name; making it again changes it.
    UniqueConstraint("flow_id", "name", name="uq_deployment__flow_id_name"),
    # The deployments of a queue: whom a poll of that queue makes ready.
    Index("ix_deployment__work_queue_id", "work_queue_id"),
    # Those that were changed a moment ago: the scheduler looks for them every few seconds.
    Index("ix_deployment__updated", "updated"),
    sqlite_with_rowid=False,
)

deployment_schedule = Table(
    "deployment_schedule",
    metadata,
    # The key of the deployment comes first: its schedules are neighbours.
    Column("deployment_id", ID, primary_key=True),
    Column("id", ID, primary_key=True),
    Column("schedule", JSON, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("max_active_runs", Integer),
    Column("max_scheduled_runs", Integer),
    Column("catchup", Boolean, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    sqlite_with_rowid=False,
)
