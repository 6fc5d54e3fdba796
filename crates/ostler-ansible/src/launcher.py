"""Starts ansible-playbook behind a gate: Ostler journals this process before it lets it do anything.

The event pipe arrives as stdout and leaves it at once, so that nothing which prints can write into it. If Ostler is killed, this
process is killed with it (prctl(2): when the thread that started it ends); what it had started is found by its environment.
"""

import ctypes
import gc
import os
import signal
import sys

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

from ansible.cli.playbook import main  # noqa: E402  only now: importing takes a quarter of a second
from ansible.plugins.loader import filter_loader, test_loader  # noqa: E402

if os.environ["ANSIBLE_STRATEGY"].startswith("mitogen"):
    import ansible_mitogen.affinity

    # Its own policy pins the controller and all its workers to the processors but the first. On a small machine that is one, and
    # the servers of a group, or a virtual machine, leave the other one idle at times.
    ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()

# A worker is forked for each task and host. What each of them would load is loaded before, and none of them lives long enough for
# the garbage collector, which would copy every page that it looks at.
for loader in (filter_loader, test_loader):
    list(loader.all())
os.register_at_fork(after_in_child=gc.disable)

sys.argv[0] = "ansible-playbook"
sys.exit(main())
