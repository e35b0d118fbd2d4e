"""Runs of deployments, made on demand."""

from __future__ import annotations

from uuid import UUID

from fastapi import Response, status

from flowyard.schemas.api.deployments import DeploymentFlowRunCreate
from flowyard.schemas.api.flow_runs import FlowRunResponse
from flowyard.schemas.names import random_name
from flowyard.schemas.runs import FlowRun, utcnow
from flowyard.schemas.states import StateType
from flowyard.server import answers
from flowyard.server.dependencies import Database
from flowyard.server.deployed import filled_in, find_queue, refusals
from flowyard.server.provenance import Maker
from flowyard.server.received import policy_of, state_of
from flowyard.server.routes import Routes
from flowyard.services import deployment_runs, reported_flow_runs
from flowyard.store import deployments, served_flow_runs, work_pools
from flowyard.store.plain import PlainConnection

router = Routes(prefix="/deployments", tags=["Deployments"])


@router.post("/{id}/create_flow_run", operation_id="create_flow_run_from_deployment", response_model=FlowRunResponse)
def create(id: UUID, body: DeploymentFlowRunCreate, database: Database, maker: Maker) -> Response:
    """Make a flow run of a deployment, or find the one that has its idempotency key."""
    now = utcnow()

    def make(plain: PlainConnection) -> tuple[UUID, bool]:
        connection = plain.core
        deployment = deployments.read(connection, id)
        parameters = {**deployment.parameters, **filled_in(connection, body.parameters)}
        job_variables = filled_in(connection, body.job_variables or {})
        is_enforced = body.enforce_parameter_schema
        if deployment.enforce_parameter_schema if is_enforced is None else is_enforced:
            with refusals(invalid=status.HTTP_409_CONFLICT):
                deployment_runs.check_parameters(deployment, parameters)
        pool_name = deployment.work_pool_name
        queue = find_queue(connection, pool_name, body.work_queue_name or deployment.work_queue_name, now=now)
        if pool_name is not None:
            with refusals(invalid=status.HTTP_422_UNPROCESSABLE_CONTENT):
                pool = work_pools.read(connection, pool_name)
                deployment_runs.check_job_variables(
                    pool, deployment.job_variables, job_variables, ignore_required=False
                )
        policy = body.empirical_policy
        run = FlowRun(
            deployment.flow_id,
            body.name or random_name(),
            parameters=parameters,
            context=body.context,
            tags=[*deployment.tags, *(tag for tag in body.tags if tag not in deployment.tags)],
            policy=policy_of(policy),
            parent_task_run_id=body.parent_task_run_id,
            deployment_id=id,
            idempotency_key=body.idempotency_key,
        )
        origin = deployment_runs.origin_of(
            deployment,
            queue,
            created_by=None if maker is None else maker.model_dump(mode="json"),
            job_variables=job_variables or None,
        )
        return reported_flow_runs.create_flow_run(plain, run, state_of(body.state, default=StateType.SCHEDULED), origin)

    made, is_new = database.change_plainly(make)
    found = database.read(lambda connection: served_flow_runs.read(connection, made, now=now))
    return answers.created(found, is_new=is_new)
