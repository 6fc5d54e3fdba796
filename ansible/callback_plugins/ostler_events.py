"""Tells Ostler what happens: one JSON line per event, to the pipe whose descriptor number is in OSTLER_EVENT_FD.

This is the stdout callback, so a run prints nothing, and nobody has to parse stdout. Three rules hold everywhere:

- An event is masked before it is shortened, because half a secret would not be recognised. It is written at once.
- A reader that disappears must not end a run halfway: after EPIPE, events are dropped.
- Arguments come from `task_fields['args']`, which are templated and complete, but also hold the secrets of no_log tasks.
"""

from __future__ import annotations

import base64
import collections.abc
import html
import json
import math
import os
import re
import time
import urllib.parse

import yaml
from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import inventory_loader
from ansible.release import __version__ as ansible_version

DOCUMENTATION = r"""
name: ostler_events
type: stdout
short_description: One JSON line per event for Ostler
description:
  - Writes to the file descriptor in E(OSTLER_EVENT_FD), or to stdout when a developer runs the playbook by hand.
"""

MASK = "********"
OUTPUT_LIMIT = 4 * 1024
ARGUMENT_LIMIT = 16 * 1024
DIFF_LIMIT = 64 * 1024

# Arguments of a no_log task that events may show: they tell what it manages, and nothing of what it wrote there.
STRUCTURAL_ARGUMENTS = frozenset("dest enabled group groups mode name owner path src state unit user".split())
SECRET_KEY = re.compile(
    r"(?i)(?:^|[^a-z])(?:pass|passwd|password|passphrase|pwd|secret|secrets|token|tokens|credential|credentials"
    r"|private_?key|api_?key|access_?key|secret_?key|encryption_?key)(?:$|[^a-z])|(?:password|passwd|passphrase|secret|token)$"
)
# A whole private key, with or without diff marks before its lines.
PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----.*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\Z)", re.DOTALL)
# `name = value` and `name: value`, as in configuration files and JSON. Words that only switch something on or off are no secrets.
ASSIGNMENT = re.compile(
    r"(?m)(?P<key>(?<![\w.-])(?P<name>[A-Za-z_][\w.-]*)[\"']?[ \t]*[:=][ \t]*)"
    r"(?!(?:yes|no|on|off|true|false|none|null|\d{1,3})[ \t]*[,;}]?[ \t]*$)"
    r"(?P<value>\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s\[{|>][^\n]*)"
)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "ostler_events"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._pipe = _Pipe(os.environ.get("OSTLER_EVENT_FD"))
        self._masker = None
        self._started_at = {}
        self._listen_to_display()

    # The run

    def v2_playbook_on_start(self, playbook):
        self._emit(
            "run_started",
            playbook=playbook._file_name,
            ansible_version=ansible_version,
            strategy=C.DEFAULT_STRATEGY,
            check=bool(context.CLIARGS.get("check")),
        )

    def v2_playbook_on_no_hosts_matched(self):
        self._emit("warning", message="no hosts matched: nothing was done", host=None, task=None)

    def v2_playbook_on_stats(self, stats):
        self._emit("stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})

    # Tasks

    def v2_runner_on_start(self, host, task):
        self._started_at[host.get_name(), task._uuid] = time.time()
        self._task_started(host, task)

    def v2_playbook_on_notify(self, handler, host):
        self._emit("handler_notified", host=host.get_name(), handler=handler.name, role=_role(handler))

    def v2_runner_retry(self, result):
        self._emit(
            "task_retry",
            host=result.host.get_name(),
            task_id=result.task._uuid,
            attempt=result.result.get("attempts"),
            retries=result.result.get("retries"),
        )

    # Results

    def v2_runner_on_ok(self, result):
        self._task_result(result, "changed" if result.is_changed() else "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._task_result(result, "failed", ignored=ignore_errors)

    def v2_runner_on_skipped(self, result):
        self._task_result(result, "skipped")

    def v2_runner_on_unreachable(self, result):
        self._task_result(result, "unreachable", ignored=result.task_fields.get("ignore_unreachable"))

    def v2_runner_item_on_ok(self, result):
        self._task_result(result, "changed" if result.is_changed() else "ok", item=True)

    def v2_runner_item_on_failed(self, result):
        self._task_result(result, "failed", ignored=result.task_fields.get("ignore_errors"), item=True)

    def v2_runner_item_on_skipped(self, result):
        self._task_result(result, "skipped", item=True)

    # Contents of the events

    def _task_started(self, host, task):
        # One event per host, not per run: not every host has every task, and Ostler gives each server its own events.
        if task.action in C._ACTION_META:
            return
        self._emit(
            "task_started",
            host=host.get_name(),
            task_id=task._uuid,
            task=_task_name(task),
            role=_role(task),
            module=_module(task),
            path=task.get_path(),
            handler=_is_handler(task),
        )

    def _task_result(self, callback_result, outcome, ignored=False, item=False):
        task, fields, result = callback_result.task, callback_result.task_fields, callback_result.result
        if task.action in C._ACTION_META:
            return
        host, name = callback_result.host.get_name(), _task_name(task, fields)
        hidden = bool(fields.get("no_log") or result.get("_ansible_no_log") or "censored" in result)
        # Only the items of a loop ran with real arguments; the result after them is a summary. (A loop over something undefined fails
        # before it has items. Then this is the only result.)
        aggregate = not item and "results" in result and (task.loop is not None or bool(task.loop_with))
        handler = _is_handler(task)

        event = {
            "host": host,
            "role": _role(task),
            "top_role": task.get_vars().get("ostler_step", {}).get("role"),
            "task": name,
            "task_id": task._uuid,
            "module": _module(task),
            "args": None if aggregate else self._arguments(fields.get("args") or {}, hidden),
            "result": outcome,
            "ignored": bool(ignored),
            "msg": self._text(result.get("msg") or result.get("reason") or result.get("skip_reason") or result.get("censored")),
            "diff": [] if hidden or aggregate else self._diff(result.get("diff")),
            "duration": self._duration(host, task, item),
            "item": self._item(result, hidden) if item else None,
            "notify": [str(handler_name) for handler_name in fields.get("notify") or []] if outcome == "changed" else [],
            "handler": handler,
            "check": bool(fields.get("check_mode")),
            "unpredicted": outcome == "skipped" and not aggregate and _is_unpredicted(fields, result),
        }
        if hidden:
            event["no_log"] = True
        if aggregate:
            event["aggregate"] = True
        if handler:
            # All names by which it may have been notified, so that a reader knows which pending notifications are done.
            event["answers"] = sorted({name, task.get_name(), *(task.listen or [])})
        if outcome in ("failed", "changed", "unreachable") and not hidden and not aggregate:
            event["stdout"] = self._text(result.get("stdout") or result.get("module_stdout"))
            event["stderr"] = self._text(result.get("stderr") or result.get("module_stderr"))
            event["rc"] = result.get("rc")
        self._emit("task_result", **event)

        if not aggregate:
            for warning in callback_result.warnings:
                self._emit("warning", message=_summary_text(warning), host=host, task=name)
            for deprecation in callback_result.deprecations:
                self._emit("deprecation", message=_summary_text(deprecation), host=host, task=name)

    def _arguments(self, arguments, hidden):
        # Ansible adds its own arguments for the module.
        arguments = {key: value for key, value in arguments.items() if not key.startswith("_ansible_")}
        if hidden:
            return {key: value if key in STRUCTURAL_ARGUMENTS else MASK for key, value in arguments.items()}
        return self._bounded(self._mask.value(arguments), ARGUMENT_LIMIT)

    def _diff(self, diff):
        entries = []
        for entry in diff if isinstance(diff, list) else [diff]:
            # Many modules send a diff without a change.
            if not isinstance(entry, collections.abc.Mapping) or not entry.get("prepared") and entry.get("before") == entry.get("after"):
                continue
            kept = {
                key: entry[key] if isinstance(entry[key], str) else json.dumps(self._mask.value(entry[key]), indent=1, sort_keys=True)
                for key in ("before", "after", "before_header", "after_header", "prepared")
                if entry.get(key) is not None
            }
            entries.append(self._bounded(self._mask.diff(kept), DIFF_LIMIT // 2))
        return entries

    def _item(self, result, hidden):
        if hidden:
            return MASK
        label = result.get("_ansible_item_label", result.get(result.get("ansible_loop_var") or "item"))
        return label if isinstance(label, str) else json.dumps(self._mask.value(label))

    def _duration(self, host, task, item):
        now, key = time.time(), (host, task._uuid)
        started = self._started_at.get(key, now)
        if item:
            self._started_at[key] = now
        return round(max(0.0, now - started), 3)

    def _text(self, value):
        if value is None or value == "":
            return None
        return self._bounded(self._mask.value(value if isinstance(value, str) else json.dumps(self._mask.value(value))), OUTPUT_LIMIT)

    def _bounded(self, value, limit):
        if isinstance(value, str) and len(value) > limit:
            # The error is usually at the end.
            start, end = value[: limit // 4], value[-(limit - limit // 4):]
            return f"{start}\n... ({len(value) - limit} characters left out)\n{end}"
        if isinstance(value, dict):
            return {key: self._bounded(item, limit) for key, item in value.items()}
        if isinstance(value, list):
            return [self._bounded(item, limit) for item in value]
        return value

    # Warnings that belong to no task

    def _listen_to_display(self):
        """There is no callback for these, so this wraps the methods that would print them. It does so in this process only, because
        Ansible forwards a worker's calls to it."""
        process = os.getpid()

        def listen(method, event):
            original = getattr(self._display, method)

            def wrapped(summary, *args, **kwargs):
                if os.getpid() == process:
                    self._emit(event, message=_summary_text(summary), host=None, task=None)
                return original(summary, *args, **kwargs)

            setattr(self._display, method, wrapped)

        # Ostler shows what Ansible prints as a failure that names no task, so it must be masked too.
        display = self._display.display

        def display_masked(msg, *args, **kwargs):
            return display(self._mask.text(msg) if os.getpid() == process else msg, *args, **kwargs)

        self._display.display = display_masked
        listen("_warning", "warning")
        listen("_deprecated", "deprecation")
        listen("_error", "error")

    # Output

    @property
    def _mask(self):
        # Created at first use: the inventory is read after this plugin is loaded, and before the first event.
        if self._masker is None:
            plugin = inventory_loader.get("ostler", class_only=True)
            self._masker = _Mask(getattr(plugin, "secrets", ()))
        return self._masker

    def _emit(self, event, **fields):
        line = {"event": event, "time": round(time.time(), 3), **fields}
        self._pipe.write(json.dumps(self._mask.value(line, by_key=False), separators=(",", ":"), allow_nan=False) + "\n")


class _Pipe:
    def __init__(self, descriptor):
        self._descriptor = int(descriptor) if descriptor else 1
        # ssh and other children must not keep the pipe open after this process has ended.
        if self._descriptor > 2:
            os.set_inheritable(self._descriptor, False)

    def write(self, text):
        data = memoryview(text.encode())
        try:
            while data and self._descriptor is not None:
                data = data[os.write(self._descriptor, data):]
        except OSError:
            self._descriptor = None


class _Mask:
    """Replaces known secrets in strings, in every encoding in which they may appear, and the values of keys that sound like secrets."""

    def __init__(self, secrets):
        forms = set()
        for secret in secrets:
            # Single lines of a key appear in diffs and error messages.
            lines = [line for line in secret.splitlines() if len(line) >= 16]
            for text in [secret, secret.strip(), *lines]:
                if len(text) >= 4:
                    forms |= _forms(text)
        # Longest first, so that a secret that contains another one is replaced as a whole.
        self._pattern = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))) if forms else None

    def text(self, text):
        # A strict reader of JSON refuses lone surrogates, which stand for undecodable output.
        text = str(text).encode("utf-8", "replace").decode()
        return self._pattern.sub(MASK, text) if self._pattern else text

    def diff(self, entry):
        """Masks both sides of a diff, or a diff that a module has `prepared`. The server's side may hold an earlier value of a secret, which
        is not known here. So this also masks private keys and assignments to names that sound like secrets. If the new text holds a
        secret, it masks every old line that the new text does not keep."""
        masked = {key: self._mask_assignments(self.text(text)) for key, text in entry.items()}
        if MASK in masked.get("after", "") and "before" in masked:
            kept = set(masked["after"].splitlines())
            masked["before"] = "".join(
                line if line.rstrip("\r\n") in kept else MASK + line[len(line.rstrip("\r\n")):] for line in masked["before"].splitlines(keepends=True)
            )
        if MASK in masked.get("prepared", ""):
            masked["prepared"] = re.sub(r"(?m)^-(?!-- ).*$", "-" + MASK, masked["prepared"])
        return masked

    def _mask_assignments(self, text):
        text = PRIVATE_KEY.sub(MASK, text)
        return ASSIGNMENT.sub(lambda match: match["key"] + MASK if _smells(match["name"], match["value"]) else match[0], text)

    def value(self, value, by_key=True):
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, collections.abc.Mapping):
            return {self.text(key): MASK if by_key and _smells(str(key), item) else self.value(item, by_key) for key, item in value.items()}
        if isinstance(value, (collections.abc.Sequence, collections.abc.Set)) and not isinstance(value, bytes):
            return [self.value(item, by_key) for item in value]
        return self.text(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)


def _smells(key, value):
    return bool(SECRET_KEY.search(key)) and value not in (None, "") and not isinstance(value, bool)


def _forms(text):
    raw = text.encode("utf-8", "replace")
    in_json = {json.dumps(text, ensure_ascii=ascii)[1:-1] for ascii in (True, False)}
    forms = {text, *in_json, repr(text)[1:-1], repr(raw)[2:-1]}
    forms |= {json.dumps(form, ensure_ascii=ascii)[1:-1] for form in in_json for ascii in (True, False)}
    # In single quotes of a shell; in those of SQL and YAML; in double quotes of a shell; in HTML and XML.
    forms |= {text.replace("'", "'\"'\"'"), text.replace("'", r"'\''"), text.replace("'", "''"), re.sub(r'(["$`\\])', r"\\\1", text), html.escape(text)}
    forms |= {
        yaml.safe_dump(text, default_style=style, allow_unicode=unicode, width=math.inf).strip()[1:-1] for style in "'\"" for unicode in (True, False)
    }
    forms |= {urllib.parse.quote(raw, safe=safe) for safe in ("", "/")} | {urllib.parse.quote_plus(raw)}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        forms |= {encode(raw).decode(), encode(raw).decode().rstrip("=")}
        if len(raw) >= 8:
            # In a longer text the secret may begin at any of three positions. Characters that it shares with its neighbours are cut off.
            for offset, cut in ((0, 0), (1, 2), (2, 3)):
                usable = (len(raw) + offset) * 8 // 6
                forms.add(encode(b"\0" * offset + raw).decode()[cut:usable])
    return forms


def _is_unpredicted(fields, result):
    """Whether a module skipped itself in check mode. A task that a condition or an empty loop skips says so in its result."""
    return bool(fields.get("check_mode")) and not any(key in result for key in ("false_condition", "skip_reason", "skipped_reason"))


def _task_name(task, fields=None):
    return str((fields or {}).get("name") or task.name or task.action)


def _role(task):
    return task._role.get_name() if task._role else None


def _is_handler(task):
    return hasattr(task, "notified_hosts")


def _module(task):
    return str(task.resolved_action or task.action)


def _summary_text(summary):
    event = getattr(summary, "event", None)
    return str(getattr(event, "msg", None) or summary)
