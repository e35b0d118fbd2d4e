"""Every setting of the server, its services, and of what executes deployments: type, default and meaning."""

from __future__ import annotations

from datetime import timedelta

from flowyard.settings.kinds import (
    BOOL,
    DURATION,
    FLOAT,
    INT,
    STR,
    at_least,
    choice,
    optional,
)
from flowyard.settings.setting import Setting, SettingFields


class ServerFields(SettingFields):
    """Settings of a server, a worker or a runner."""

    # --- server ------------------------------------------------------------------------------------

    FLOWYARD_SERVER_API_HOST = Setting(STR, "127.0.0.1", "Address the server listens on.")
    FLOWYARD_SERVER_API_PORT = Setting(at_least(INT, 0), 4200, "Port the server listens on.")
    FLOWYARD_SERVER_API_KEEPALIVE_TIMEOUT = Setting(at_least(INT, 0), 5, "Seconds the server keeps an idle connection.")
    FLOWYARD_SERVER_API_AUTH: Setting[bool | None] = Setting(
        optional(BOOL),
        None,
        "Whether requests need an API key or the user and password of FLOWYARD_SERVER_API_AUTH_STRING; none asks for "
        "them if that is set, and lets nobody listen beyond the loopback interface otherwise.",
    )
    FLOWYARD_SERVER_API_AUTH_STRING: Setting[str | None] = Setting(
        optional(STR), None, "`user:password` that the server takes instead of an API key.", is_secret=True
    )
    FLOWYARD_SERVER_API_MAX_BODY_BYTES = Setting(at_least(INT, 1), 32_000_000, "Bytes of one request at most.")
    FLOWYARD_SERVER_API_RATE_LIMIT: Setting[float | None] = Setting(
        optional(at_least(FLOAT, 0.001)), None, "Requests a second that one API key may make; none is any number."
    )
    FLOWYARD_SERVER_TLS_CERT_FILE: Setting[str | None] = Setting(
        optional(STR), None, "File of the certificate, and of its chain, with which the server speaks TLS."
    )
    FLOWYARD_SERVER_TLS_KEY_FILE: Setting[str | None] = Setting(
        optional(STR), None, "File of the private key of that certificate."
    )
    FLOWYARD_SERVER_CORS_ALLOWED_ORIGINS = Setting(
        STR, "*", "Origins that may call the API from a browser, separated by commas."
    )
    FLOWYARD_SERVER_CORS_ALLOWED_METHODS = Setting(STR, "*", "Methods that such a call may use.")
    FLOWYARD_SERVER_CORS_ALLOWED_HEADERS = Setting(STR, "*", "Headers that such a call may send.")
    FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED = Setting(BOOL, False, "Whether the server asks for CSRF tokens.")
    FLOWYARD_SERVER_CSRF_TOKEN_EXPIRATION = Setting(DURATION, timedelta(hours=1), "How long a CSRF token is good.")
    FLOWYARD_UI_ENABLED = Setting(BOOL, True, "Whether the server serves the dashboard.")
    FLOWYARD_UI_API_URL: Setting[str | None] = Setting(
        optional(STR), None, "Address of the API as the dashboard sees it; none is `/api` on the same host."
    )
    FLOWYARD_UI_URL: Setting[str | None] = Setting(
        optional(STR), None, "Address of the dashboard; none follows from FLOWYARD_API_URL."
    )
    FLOWYARD_UI_SERVE_BASE = Setting(STR, "/", "Path under which the dashboard is served.")
    FLOWYARD_UI_STATIC_DIRECTORY: Setting[str | None] = Setting(
        optional(STR), None, "Folder the dashboard's files are copied to; none is the installed package."
    )

    # --- services of the server --------------------------------------------------------------------

    FLOWYARD_API_SERVICES_SCHEDULER_ENABLED = Setting(BOOL, True, "Whether the scheduler runs in the server.")
    FLOWYARD_API_SERVICES_SCHEDULER_LOOP_SECONDS = Setting(
        at_least(FLOAT, 0), 60.0, "Seconds between looks of the scheduler."
    )
    FLOWYARD_API_SERVICES_SCHEDULER_DEPLOYMENT_BATCH_SIZE = Setting(
        at_least(INT, 1), 100, "Deployments the scheduler takes at a time."
    )
    FLOWYARD_API_SERVICES_SCHEDULER_INSERT_BATCH_SIZE = Setting(
        at_least(INT, 1), 500, "Flow runs the scheduler inserts at a time."
    )
    FLOWYARD_API_SERVICES_SCHEDULER_MAX_RUNS = Setting(
        at_least(INT, 1), 100, "Flow runs scheduled ahead for one deployment at most."
    )
    FLOWYARD_API_SERVICES_SCHEDULER_MIN_RUNS = Setting(
        at_least(INT, 0), 3, "Flow runs scheduled ahead for one deployment at least."
    )
    FLOWYARD_API_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME = Setting(
        DURATION, timedelta(days=100), "How far ahead flow runs are scheduled at most."
    )
    FLOWYARD_API_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME = Setting(
        DURATION, timedelta(hours=1), "How far ahead flow runs are scheduled at least."
    )
    FLOWYARD_DEPLOYMENT_SCHEDULE_MAX_SCHEDULED_RUNS = Setting(
        at_least(INT, 1), 50, "Flow runs of one schedule that may wait at a time."
    )
    FLOWYARD_API_SERVICES_LATE_RUNS_ENABLED = Setting(
        BOOL, True, "Whether runs that did not start in time are marked Late."
    )
    FLOWYARD_API_SERVICES_LATE_RUNS_LOOP_SECONDS = Setting(
        at_least(FLOAT, 0), 5.0, "Seconds between looks for late runs."
    )
    FLOWYARD_API_SERVICES_LATE_RUNS_AFTER_SECONDS = Setting(
        DURATION, timedelta(seconds=15), "How long after its time a run is late."
    )
    FLOWYARD_API_SERVICES_PAUSE_EXPIRATIONS_ENABLED = Setting(
        BOOL, True, "Whether paused runs fail when their pause has timed out."
    )
    FLOWYARD_API_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS = Setting(
        at_least(FLOAT, 0), 5.0, "Seconds between looks for pauses that have timed out."
    )
    FLOWYARD_API_SERVICES_CANCELLATION_CLEANUP_ENABLED = Setting(
        BOOL, True, "Whether what belongs to cancelled runs is cancelled too."
    )
    FLOWYARD_API_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS = Setting(
        at_least(FLOAT, 0), 20.0, "Seconds between looks for what belongs to cancelled runs."
    )
    FLOWYARD_API_SERVICES_FLOW_RUN_NOTIFICATIONS_ENABLED = Setting(
        BOOL, True, "Whether flow run notifications are sent."
    )
    FLOWYARD_API_SERVICES_FOREMAN_ENABLED = Setting(
        BOOL, True, "Whether workers and queues that went silent are marked so."
    )
    FLOWYARD_API_SERVICES_FOREMAN_LOOP_SECONDS = Setting(
        at_least(FLOAT, 0), 15.0, "Seconds between looks for silent workers."
    )
    FLOWYARD_API_SERVICES_FOREMAN_INACTIVITY_HEARTBEAT_MULTIPLE = Setting(
        at_least(INT, 1), 3, "Missed heartbeats after which a worker is offline."
    )
    FLOWYARD_API_SERVICES_FOREMAN_FALLBACK_HEARTBEAT_INTERVAL_SECONDS = Setting(
        at_least(INT, 1), 30, "Seconds between heartbeats of a worker that does not say."
    )
    FLOWYARD_API_SERVICES_FOREMAN_DEPLOYMENT_LAST_POLLED_TIMEOUT_SECONDS = Setting(
        at_least(INT, 1), 60, "Seconds without a poll after which a deployment is not ready."
    )
    FLOWYARD_API_SERVICES_FOREMAN_WORK_QUEUE_LAST_POLLED_TIMEOUT_SECONDS = Setting(
        at_least(INT, 1), 60, "Seconds without a poll after which a work queue is not ready."
    )

    FLOWYARD_API_SERVICES_RETENTION_ENABLED = Setting(
        BOOL,
        True,
        "Whether the server deletes what is older than FLOWYARD_RETENTION_PERIOD and FLOWYARD_EVENTS_RETENTION_PERIOD "
        "say.",
    )
    FLOWYARD_API_SERVICES_RETENTION_LOOP_SECONDS = Setting(
        at_least(FLOAT, 0), 300.0, "Seconds between looks for what is too old."
    )

    # --- events ------------------------------------------------------------------------------------

    FLOWYARD_API_SERVICES_TRIGGERS_ENABLED = Setting(BOOL, True, "Whether automations are evaluated.")
    FLOWYARD_API_SERVICES_EVENT_LOGGER_ENABLED = Setting(BOOL, True, "Whether the server logs every event.")
    FLOWYARD_API_SERVICES_EVENT_PERSISTER_ENABLED = Setting(BOOL, True, "Whether events are stored.")
    FLOWYARD_API_SERVICES_EVENT_PERSISTER_BATCH_SIZE = Setting(at_least(INT, 1), 20, "Events stored at a time.")
    FLOWYARD_API_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL = Setting(
        at_least(FLOAT, 0), 5.0, "Seconds after which events are stored at the latest."
    )
    FLOWYARD_API_EVENTS_STREAM_OUT_ENABLED = Setting(BOOL, True, "Whether the server streams events to subscribers.")
    FLOWYARD_API_EVENTS_RELATED_RESOURCE_CACHE_TTL = Setting(
        DURATION, timedelta(minutes=5), "How long the related resources of events are remembered."
    )
    FLOWYARD_EVENTS_TASK_RUNS = Setting(
        choice("none", "failures", "all"),
        "failures",
        "Which states of task runs become events on a server: none, those that are final but not Completed, or all, "
        "which costs 60 microseconds for each state.",
    )
    FLOWYARD_EVENTS_RETENTION_PERIOD = Setting(DURATION, timedelta(days=7), "How long a server keeps events.")
    FLOWYARD_EVENTS_EXPIRED_BUCKET_BUFFER = Setting(
        DURATION, timedelta(seconds=60), "How long after its end a trigger's bucket is kept."
    )
    FLOWYARD_EVENTS_PROACTIVE_GRANULARITY = Setting(
        DURATION, timedelta(seconds=5), "How finely proactive triggers are evaluated."
    )
    FLOWYARD_EVENTS_MAXIMUM_LABELS_PER_RESOURCE = Setting(at_least(INT, 1), 500, "Labels of one resource at most.")
    FLOWYARD_EVENTS_MAXIMUM_RELATED_RESOURCES = Setting(
        at_least(INT, 1), 500, "Related resources of one event at most."
    )
    FLOWYARD_EVENTS_MAXIMUM_SIZE_BYTES = Setting(at_least(INT, 1), 1_500_000, "Bytes of one event at most.")

    # --- workers and runners -----------------------------------------------------------------------

    FLOWYARD_DEFAULT_WORK_POOL_NAME: Setting[str | None] = Setting(
        optional(STR), None, "Work pool of a deployment that names none."
    )
    FLOWYARD_DEFAULT_DOCKER_BUILD_NAMESPACE: Setting[str | None] = Setting(
        optional(STR), None, "Registry namespace of images that are built for deployments."
    )
    FLOWYARD_WORKER_HEARTBEAT_SECONDS = Setting(at_least(FLOAT, 0), 30.0, "Seconds between heartbeats of a worker.")
    FLOWYARD_WORKER_QUERY_SECONDS = Setting(at_least(FLOAT, 0), 10.0, "Seconds between a worker's looks for runs.")
    FLOWYARD_WORKER_PREFETCH_SECONDS = Setting(
        at_least(FLOAT, 0), 10.0, "Seconds before its time that a worker takes a run."
    )
    FLOWYARD_WORKER_WEBSERVER_HOST = Setting(STR, "0.0.0.0", "Address of a worker's health check.")
    FLOWYARD_WORKER_WEBSERVER_PORT = Setting(at_least(INT, 0), 8080, "Port of a worker's health check.")
    FLOWYARD_AGENT_QUERY_INTERVAL = Setting(at_least(FLOAT, 0), 15.0, "Seconds between an agent's looks for runs.")
    FLOWYARD_AGENT_PREFETCH_SECONDS = Setting(
        at_least(INT, 0), 15, "Seconds before its time that an agent takes a run."
    )
    FLOWYARD_RUNNER_PROCESS_LIMIT = Setting(at_least(INT, 1), 5, "Flow runs a runner executes at a time.")
    FLOWYARD_RUNNER_POLL_FREQUENCY = Setting(at_least(INT, 1), 10, "Seconds between a runner's looks for runs.")
    FLOWYARD_RUNNER_SERVER_ENABLE = Setting(BOOL, False, "Whether a runner serves its health check.")
    FLOWYARD_RUNNER_SERVER_HOST = Setting(STR, "localhost", "Address of a runner's health check.")
    FLOWYARD_RUNNER_SERVER_PORT = Setting(at_least(INT, 0), 8080, "Port of a runner's health check.")
    FLOWYARD_RUNNER_SERVER_LOG_LEVEL = Setting(STR, "error", "Log level of a runner's health check.")
    FLOWYARD_RUNNER_SERVER_MISSED_POLLS_TOLERANCE = Setting(
        at_least(INT, 1), 2, "Missed polls after which a runner is unhealthy."
    )
    FLOWYARD_TASK_SCHEDULING_DEFAULT_STORAGE_BLOCK: Setting[str | None] = Setting(
        optional(STR),
        "local-file-system/flowyard-task-scheduling",
        "Block `type/name` that keeps the parameters of background tasks.",
    )
    FLOWYARD_TASK_SCHEDULING_DELETE_FAILED_SUBMISSIONS = Setting(
        BOOL, True, "Whether background task runs that could not be submitted are deleted."
    )
    FLOWYARD_TASK_SCHEDULING_MAX_SCHEDULED_QUEUE_SIZE = Setting(
        at_least(INT, 1), 1000, "Background task runs that may wait at a time."
    )
    FLOWYARD_TASK_SCHEDULING_MAX_RETRY_QUEUE_SIZE = Setting(
        at_least(INT, 1), 100, "Background task runs that may wait for a retry at a time."
    )
    FLOWYARD_TASK_SCHEDULING_PENDING_TASK_TIMEOUT = Setting(
        DURATION, timedelta(seconds=30), "How long a background task run may stay Pending before it is offered again."
    )
