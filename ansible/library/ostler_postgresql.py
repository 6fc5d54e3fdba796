#!/usr/bin/python3
"""Looks at the PostgreSQL clusters of the server: one of them is the role's, and the others belong to somebody else."""

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_postgresql
short_description: Require a cluster of PostgreSQL, and name others that are in the way
description:
  - Fails if the cluster is missing, or another one runs on its port. Warns if another cluster has the usual port, which clients use
    that name no port.
options:
  cluster: {description: "The required cluster, such as C(17/main).", type: str, required: true}
  port: {description: The usual port of clients., type: int, default: 5432}
"""


def main():
    spec = {"cluster": {"type": "str", "required": True}, "port": {"type": "int", "default": 5432}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    wanted, usual = module.params["cluster"], module.params["port"]
    _, out, _ = module.run_command(["pg_lsclusters", "--no-header"])
    # Version, name, port, status, owner, data directory, log file.
    rows = [line.split() for line in out.splitlines()]
    ports = {f"{row[0]}/{row[1]}": int(row[2]) for row in rows if len(row) >= 4 and row[2].isdigit()}
    if wanted not in ports:
        there = ", ".join(f"{name} (port {port})" for name, port in ports.items()) or "none"
        version, name = wanted.split("/")
        module.fail_json(
            msg=f"PostgreSQL has no cluster {wanted}, which is the one that this app sets up (there are: {there}). "
            f"`pg_createcluster {version} {name}` makes it; the others stay as they are"
        )
    online = {f"{row[0]}/{row[1]}" for row in rows if len(row) >= 4 and row[3].startswith("online")}
    rivals = [name for name, port in ports.items() if port == ports[wanted] and name != wanted and name in online]
    if rivals and wanted not in online:
        module.fail_json(
            msg=f"PostgreSQL's cluster {wanted} can't start, because the cluster {rivals[0]} runs on its port {ports[wanted]}: give one of them another "
            f"(`port` in /etc/postgresql/{wanted}/postgresql.conf)"
        )
    others = [name for name, port in ports.items() if port == usual and name != wanted]
    if ports[wanted] != usual and others:
        module.warn(
            f"PostgreSQL: the cluster {others[0]} has port {usual} and is left alone. Users and databases of this app are in the cluster "
            f"{wanted}, at port {ports[wanted]}: clients have to name that port"
        )
    module.exit_json(port=ports[wanted])


if __name__ == "__main__":
    main()
