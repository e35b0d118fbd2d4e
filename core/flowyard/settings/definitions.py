"""Every setting that flows, tasks and their state backend have: type, default and meaning.

Text may name other settings as `${FLOWYARD_HOME}`. Values that follow from others (`FLOWYARD_UI_URL`, the log levels
in debug mode) are computed in `model`.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from flowyard.settings.kinds import (
    BOOL,
    DELAYS,
    DURATION,
    FLOAT,
    INT,
    PATH,
    STATUSES,
    STR,
    TOKEN,
    WORDS,
    at_least,
    choice,
    optional,
)
from flowyard.settings.setting import Setting, SettingFields


class EngineFields(SettingFields):
    """Settings of a process that runs flows."""

    # --- this process ------------------------------------------------------------------------------

    FLOWYARD_HOME = Setting(
        PATH, Path("~/.flowyard").expanduser(), "Folder of everything Flowyard keeps on this machine."
    )
    FLOWYARD_PROFILES_PATH = Setting(PATH, Path("${FLOWYARD_HOME}/profiles.toml"), "File of the settings profiles.")
    FLOWYARD_LOCAL_STORAGE_PATH = Setting(
        PATH, Path("${FLOWYARD_HOME}/storage"), "Folder where results are persisted by default."
    )
    FLOWYARD_DEBUG_MODE = Setting(BOOL, False, "Whether all loggers of Flowyard log at DEBUG.")
    FLOWYARD_TEST_MODE = Setting(BOOL, False, "Whether the process runs tests: the CLI lets exceptions through.")
    FLOWYARD_EXTRA_ENTRYPOINTS: Setting[list[str]] = Setting(
        WORDS, [], "Modules (or `module:object`) to import when Flowyard starts."
    )

    # --- command line ------------------------------------------------------------------------------

    FLOWYARD_CLI_COLORS = Setting(BOOL, True, "Whether the command line uses colours.")
    FLOWYARD_CLI_PROMPT: Setting[bool | None] = Setting(
        optional(BOOL), None, "Whether commands may ask; none asks on an interactive terminal only."
    )
    FLOWYARD_CLI_WRAP_LINES = Setting(
        BOOL, True, "Whether the command line wraps long lines at the width of the terminal."
    )
    FLOWYARD_PROGRESS = Setting(
        choice("auto", "always", "never"),
        "auto",
        "Whether flows show live progress; auto does on an interactive terminal.",
    )

    # --- flows and tasks ---------------------------------------------------------------------------

    FLOWYARD_FLOW_DEFAULT_RETRIES = Setting(at_least(INT, 0), 0, "Retries of a flow that does not say.")
    FLOWYARD_FLOW_DEFAULT_RETRY_DELAY_SECONDS = Setting(
        at_least(FLOAT, 0), 0.0, "Seconds between the retries of a flow that does not say."
    )
    FLOWYARD_TASK_DEFAULT_RETRIES = Setting(at_least(INT, 0), 0, "Retries of a task that does not say.")
    FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS: Setting[float | list[float]] = Setting(
        DELAYS, 0.0, "Seconds between the retries of a task that does not say; several are used one after another."
    )
    FLOWYARD_TASK_DEFAULT_CRASH_RETRIES = Setting(
        at_least(INT, 0), 0, "New attempts of a task whose worker died, when the task does not say."
    )
    FLOWYARD_TASK_RUNNER = Setting(
        STR, "concurrent", "Task runner of a flow that names none: an installed runner's name."
    )
    FLOWYARD_TASK_RUNNER_THREAD_POOL_MAX_WORKERS: Setting[int | None] = Setting(
        optional(at_least(INT, 1)), None, "Threads of the concurrent task runner; none means 250."
    )
    FLOWYARD_TASK_RUNNER_UPCALL_TIMEOUT_SECONDS = Setting(
        at_least(FLOAT, 0), 30.0, "Seconds that a remote task waits for what it asks of the flow's process."
    )
    FLOWYARD_TASKS_REFRESH_CACHE = Setting(BOOL, False, "Whether cached task results are ignored and made anew.")
    FLOWYARD_RUN_ON_COMPLETION_HOOKS_ON_CACHED = Setting(
        BOOL, False, "Whether completion hooks run for tasks that took their result from the cache."
    )
    FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD: Setting[float | None] = Setting(
        optional(at_least(FLOAT, 0)),
        10.0,
        "Seconds of looking for upstream runs in arguments before a warning; none never warns.",
    )
    FLOWYARD_TASK_RUN_TAG_CONCURRENCY_SLOT_WAIT_SECONDS = Setting(
        at_least(INT, 0), 30, "Seconds a task run waits before it asks again for a concurrency slot."
    )
    FLOWYARD_RESULTS_DEFAULT_SERIALIZER = Setting(STR, "pickle", "Serializer of persisted results.")
    FLOWYARD_RETENTION_PERIOD: Setting[timedelta | None] = Setting(
        optional(DURATION),
        None,
        "How long ago flow runs ended that `flowyard gc` and a server delete; none: gc asks for --older-than, and the "
        "server keeps them.",
    )
    FLOWYARD_RESULTS_PERSIST_BY_DEFAULT = Setting(
        BOOL, False, "Whether flows and tasks that do not say persist their results."
    )
    FLOWYARD_RESULTS_SIGNING_KEY: Setting[str | None] = Setting(
        optional(STR),
        None,
        "Key that signs persisted results; with one, a result that is not signed with it is refused unread.",
        is_secret=True,
    )
    FLOWYARD_DEFAULT_RESULT_STORAGE_BLOCK: Setting[str | None] = Setting(
        optional(STR), None, "Block `type/name` that stores results; none is a local folder."
    )

    # --- recording ---------------------------------------------------------------------------------

    FLOWYARD_JOURNAL_COMMIT_INTERVAL_SECONDS = Setting(
        at_least(FLOAT, 0), 0.05, "Seconds after which what was recorded is committed at the latest."
    )
    FLOWYARD_JOURNAL_MAX_PENDING_EVENTS = Setting(
        at_least(INT, 1), 100_000, "Uncommitted records after which recording waits for the database."
    )
    FLOWYARD_JOURNAL_GIVE_UP_SECONDS = Setting(
        at_least(FLOAT, 0),
        15.0,
        "Seconds for which a failing commit (full disk, server away) is tried again before the flow ends.",
    )

    FLOWYARD_TRACING_ENABLED = Setting(
        BOOL,
        False,
        "Whether runs and requests are spans of OpenTelemetry; the variables `OTEL_...` say where they go. Needs "
        "`flowyard[opentelemetry]`.",
    )

    # --- logging -----------------------------------------------------------------------------------

    FLOWYARD_LOGGING_LEVEL = Setting(STR, "INFO", "Level of Flowyard's loggers.")
    FLOWYARD_LOGGING_INTERNAL_LEVEL = Setting(STR, "ERROR", "Level of the loggers of Flowyard's own machinery.")
    FLOWYARD_LOGGING_SERVER_LEVEL = Setting(STR, "WARNING", "Level of the server's loggers.")
    FLOWYARD_LOGGING_SETTINGS_PATH = Setting(
        PATH, Path("${FLOWYARD_HOME}/logging.yml"), "File with a logging configuration that replaces the default one."
    )
    FLOWYARD_LOGGING_EXTRA_LOGGERS: Setting[list[str]] = Setting(
        WORDS, [], "Other loggers whose records belong to the runs."
    )
    FLOWYARD_LOGGING_LOG_PRINTS = Setting(
        BOOL, False, "Whether flows and tasks that do not say turn `print` into log records."
    )
    FLOWYARD_LOGGING_FORMAT = Setting(
        choice("text", "json"),
        "text",
        "How log lines on the console look, of flows and of a server: text, or a JSON object a line.",
    )
    FLOWYARD_LOGGING_COLORS = Setting(BOOL, True, "Whether console log lines are coloured.")
    FLOWYARD_LOGGING_MARKUP = Setting(BOOL, False, "Whether rich's markup in log messages is rendered.")
    FLOWYARD_LOGGING_TO_API_ENABLED = Setting(BOOL, True, "Whether the log records of runs are stored.")
    FLOWYARD_LOGGING_TO_API_BATCH_INTERVAL = Setting(
        at_least(FLOAT, 0), 2.0, "Seconds between batches of log records sent to a server."
    )
    FLOWYARD_LOGGING_TO_API_BATCH_SIZE = Setting(
        at_least(INT, 1), 4_000_000, "Bytes of one batch of log records at most."
    )
    FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE = Setting(at_least(INT, 1), 1_000_000, "Bytes of one log record at most.")
    FLOWYARD_LOGGING_TO_API_WHEN_MISSING_FLOW = Setting(
        choice("warn", "error", "ignore"), "warn", "What happens when a run logger is used outside of a run."
    )

    # --- API client --------------------------------------------------------------------------------

    FLOWYARD_API_URL: Setting[str | None] = Setting(
        optional(STR), None, "Address of the server's API; none uses the embedded state backend."
    )
    FLOWYARD_API_KEY: Setting[str | None] = Setting(
        optional(TOKEN), None, "Key that is sent to the server.", is_secret=True
    )
    FLOWYARD_API_AUTH_STRING: Setting[str | None] = Setting(
        optional(STR), None, "`user:password` that is sent to the server when there is no key.", is_secret=True
    )
    FLOWYARD_API_REQUEST_TIMEOUT = Setting(at_least(FLOAT, 0), 60.0, "Seconds a request to the server may take.")
    FLOWYARD_API_ENABLE_HTTP2 = Setting(BOOL, False, "Whether the client speaks HTTP/2.")
    FLOWYARD_API_SSL_CERT_FILE: Setting[str | None] = Setting(
        optional(STR), None, "File of the certificates to trust; none takes SSL_CERT_FILE or the system's."
    )
    FLOWYARD_API_TLS_INSECURE_SKIP_VERIFY = Setting(BOOL, False, "Whether the server's certificate goes unchecked.")
    FLOWYARD_CLIENT_MAX_RETRIES = Setting(at_least(INT, 0), 5, "How often the client sends a request again.")
    FLOWYARD_CLIENT_RETRY_EXTRA_CODES: Setting[frozenset[int]] = Setting(
        STATUSES, frozenset(), "More HTTP status codes on which the client sends a request again."
    )
    FLOWYARD_CLIENT_RETRY_JITTER_FACTOR = Setting(
        at_least(FLOAT, 0), 0.2, "Share of the wait between requests that is random."
    )
    FLOWYARD_CLIENT_CSRF_SUPPORT_ENABLED = Setting(
        BOOL, True, "Whether the client sends a CSRF token when the server asks for one."
    )
    FLOWYARD_SILENCE_API_URL_MISCONFIGURATION = Setting(
        BOOL, False, "Whether nothing is said about an unusual FLOWYARD_API_URL."
    )

    # --- database ----------------------------------------------------------------------------------

    FLOWYARD_API_DATABASE_CONNECTION_URL = Setting(
        STR,
        "sqlite:///${FLOWYARD_HOME}/flowyard.db",
        "Database of the state backend: SQLite or PostgreSQL.",
        is_secret=True,
    )
    FLOWYARD_API_DATABASE_PASSWORD: Setting[str | None] = Setting(
        optional(STR),
        None,
        "Password that the database URL may name as ${FLOWYARD_API_DATABASE_PASSWORD}.",
        is_secret=True,
    )
    FLOWYARD_API_DATABASE_CONNECTION_TIMEOUT: Setting[float | None] = Setting(
        optional(at_least(FLOAT, 0)), 5.0, "Seconds a connection to the database may take to open."
    )
    FLOWYARD_API_DATABASE_TIMEOUT: Setting[float | None] = Setting(
        optional(at_least(FLOAT, 0)), 10.0, "Seconds a statement may take; on SQLite a lock is waited for 60 s."
    )
    FLOWYARD_API_DATABASE_ECHO = Setting(BOOL, False, "Whether every SQL statement is logged.")
    FLOWYARD_API_DATABASE_MIGRATE_ON_START = Setting(
        BOOL, True, "Whether an older database is upgraded when it is opened."
    )
    FLOWYARD_SQLALCHEMY_POOL_SIZE: Setting[int | None] = Setting(
        optional(at_least(INT, 1)), None, "Database connections kept open; none leaves it to Flowyard."
    )
    FLOWYARD_SQLALCHEMY_MAX_OVERFLOW: Setting[int | None] = Setting(
        optional(at_least(INT, -1)), None, "Database connections opened beyond the pool; none leaves it to Flowyard."
    )
    FLOWYARD_API_TASK_CACHE_KEY_MAX_LENGTH = Setting(
        at_least(INT, 1), 2000, "Characters of a task's cache key at most."
    )
    FLOWYARD_API_DEFAULT_LIMIT = Setting(
        at_least(INT, 1), 200, "Rows a list returns when no limit is given; also the most it returns."
    )
    FLOWYARD_SERVER_ENCRYPTION_KEY: Setting[str | None] = Setting(
        optional(STR),
        None,
        "Key (Fernet) that encrypts the secrets of blocks; none makes one beside the database.",
        is_secret=True,
    )
    FLOWYARD_API_BLOCKS_REGISTER_ON_START = Setting(
        BOOL, True, "Whether the known block types are registered when the server starts."
    )
    FLOWYARD_API_MAX_FLOW_RUN_GRAPH_NODES = Setting(at_least(INT, 1), 10_000, "Nodes of a flow run's graph at most.")
    FLOWYARD_API_MAX_FLOW_RUN_GRAPH_ARTIFACTS = Setting(
        at_least(INT, 1), 10_000, "Artifacts on a flow run's graph at most."
    )
