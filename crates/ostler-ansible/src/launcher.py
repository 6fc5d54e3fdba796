"""Starts ansible-playbook behind a gate: Ostler journals this process before it lets it do anything.

The event pipe arrives as stdout and leaves it at once, so that nothing which prints can write into it. If Ostler is killed, this
process is killed with it (prctl(2): when the thread that started it ends); what it had started is found by its environment.
"""

import ctypes
import functools
import gc
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1  # linux/prctl.h

os.setsid()
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
if not sys.stdin.buffer.readline():
    sys.exit("Ostler ended before it let Ansible begin")

events = os.dup(1)  # forked workers inherit it, programs that they start do not
null = os.open("/dev/null", os.O_RDWR)
os.dup2(null, 0)
os.dup2(null, 1)
os.environ["OSTLER_EVENT_FD"] = str(events)

# ruff: noqa: E402  only now: importing takes a quarter of a second
import ansible.collections.list
import ansible.module_utils._internal._json._profiles._module_legacy_m2c  # what modules answer; each worker would load it
import ansible.plugins.action.normal
from ansible import constants as C
from ansible._internal._task import TaskContext
from ansible._internal._templating._engine import TemplateEngine
from ansible.cli.playbook import main
from ansible.errors import AnsibleError
from ansible.executor.process.worker import WorkerProcess
from ansible.executor.task_executor import TaskExecutor
from ansible.executor.task_result import _RawTaskResult
from ansible.plugins.loader import filter_loader, test_loader

if os.environ["ANSIBLE_STRATEGY"].startswith("mitogen"):
    import ansible_mitogen.affinity

    # Its own policy pins the controller and all its workers to the processors but the first. On a small machine that is one, and
    # the servers of a group, or a virtual machine, leave the other one idle at times.
    ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()

    # mitogen prepares every interpreter for running modules: it loads what they need, and forks a process. That of the user who logs in
    # only hands on to root's in nearly all runs, so each is prepared once a task wants to run there. `dict` keeps the arguments.
    import ansible_mitogen.connection
    import ansible_mitogen.services
    import ansible_mitogen.target
    import mitogen.core

    init_child, ansible_mitogen.target.init_child = ansible_mitogen.target.init_child, dict
    connect_stack = ansible_mitogen.services.ContextService.get
    locks = {}

    @functools.wraps(connect_stack)  # with what lets workers call it
    def get(service, stack):
        result = connect_stack(service, stack)
        context = result["context"]
        if context is None:
            return result
        with locks.setdefault(context, threading.Lock()):
            if "fork_context" not in result["init_child_result"]:
                try:
                    result["init_child_result"] = context.call(init_child, **result["init_child_result"])
                except mitogen.core.ChannelError:
                    return result | {"context": None, "init_child_result": None, "method_name": stack[-1]["method"], "msg": service.disconnect_msg}
        return result

    ansible_mitogen.services.ContextService.get = get

    # A connection that breaks while a module's files are on their way, and not while the module runs, is a lost server too.
    import ansible_mitogen.planner
    from ansible.errors import AnsibleConnectionFailure

    invoke_module = ansible_mitogen.planner.invoke

    def invoke(invocation):
        try:
            return invoke_module(invocation)
        except mitogen.core.ChannelError as error:
            invocation.connection.reset()
            raise AnsibleConnectionFailure(str(error)) from error

    ansible_mitogen.planner.invoke = invoke

    # Interpreters on a server are called as the inventory says, and not by this machine's user and name, so that the next run knows
    # those of an interrupted one from everybody else's.
    ansible_mitogen.connection.get_remote_name = lambda spec: spec.mitogen_mask_remote_name()

# A worker is forked for each task and host. What each of them would load is loaded before, and none of them lives long enough for
# the garbage collector, which would copy every page that it looks at.
for loader in (filter_loader, test_loader):
    list(loader.all())
os.register_at_fork(after_in_child=gc.disable)
# What is there by now stays, so the collector here need not look at it again either.
gc.freeze()

# mitogen looks for the installed collections before each module. Nobody else asks for them.
list_collection_dirs = functools.cache(lambda find=ansible.collections.list.list_collection_dirs: list(find()))
ansible.collections.list.list_collection_dirs = list_collection_dirs

fork = WorkerProcess.start


def start(worker):
    """Does here what needs no server, which is nearly half of a run that changes nothing; a worker is forked for the rest."""
    if needs_no_server(worker._task, worker._task_vars, worker._loader):
        work_here(worker)
    else:
        list_collection_dirs()  # workers inherit it
        fork(worker)


def needs_no_server(task, task_vars, loader):
    if task.action in (*C._ACTION_ALL_INCLUDES, "assert", "ansible.builtin.assert"):
        return not task.until
    if task.action != "ostler_packages" or task.loop is not None:
        return False
    # Its action plugin answers by itself where the packages were made sure of before in this run.
    try:
        names = TemplateEngine(loader=loader, variables=task_vars).template(task.args.get("name"))
    except AnsibleError:
        return False
    return bool(names) and set(names) <= set(task_vars.get("ostler_installed_packages", []))


def work_here(worker):
    """What a worker does, on copies of all that its being a process of its own keeps from the other hosts."""
    task = worker._task.copy(exclude_tasks=True)
    with TaskContext(task):
        answer = TaskExecutor(
            worker._host,
            task,
            dict(worker._task_vars),
            worker._play_context.copy(),
            worker._loader,
            worker._shared_loader_obj,
            worker._final_q,
            worker._variable_manager,
        ).run()
    result = _RawTaskResult(host=worker._host, task=task, return_data=answer, task_fields=task.dump_attrs())
    worker._final_q.send_task_result(result)


WorkerProcess.start = start

sys.argv[0] = "ansible-playbook"
sys.exit(main())
