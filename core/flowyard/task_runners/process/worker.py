"""A worker process: takes calls from a socket, executes them one at a time, and reports.

The main thread runs user code. One thread reads the socket, so that calls can be taken back and the end of the pool is seen
while user code runs; another sends what a call records, at most 100 ms later. A worker opens no database and asks no server.
"""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import importlib
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, cast

from flowyard.exceptions import UnpicklableValue
from flowyard.logging.configuration import setup_logging
from flowyard.logging.prints import patch_print
from flowyard.rules.crashes import crashed_state
from flowyard.schemas.events import JournalEvent
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.schemas.wire import encode_events
from flowyard.schemas.wire_values import packb, unpackb
from flowyard.settings import temporary_settings
from flowyard.settings.model import find_setting
from flowyard.task_runners.base import CallContext, Outcome, Shim, TaskSpec
from flowyard.task_runners.envelopes import Envelope
from flowyard.task_runners.outcomes import synthesised_for
from flowyard.task_runners.packing import ArrivedCall, unpack_context, unpack_spec
from flowyard.task_runners.packing_errors import describe
from flowyard.task_runners.packing_outcomes import pack_outcome
from flowyard.task_runners.process.channel import FrameReader, write_all
from flowyard.task_runners.process.messages import ToPool, ToWorker, message
from flowyard.task_runners.process.recording import EventBuffer

_FLUSH_SECONDS = 0.05
_PARENT_CHECK_SECONDS = 1.0
