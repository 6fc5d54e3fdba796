#!/usr/bin/env python3
"""Makes schema.json: the request schema of the endpoints that Ostler uses, out of Proxmox VE's own.

    extract.py SCHEMA > schema.json

SCHEMA is the API schema of pve-docs (api-viewer), flattened to one entry per "METHOD /path". What is for people is left out:
descriptions and type texts. Everything that a request is held against is kept, for every parameter, used or not.
"""
import json
import sys

ENDPOINTS = """
GET /version
GET /nodes
GET /cluster/nextid
GET /cluster/resources
GET /access/permissions
GET /nodes/{node}/status
GET /nodes/{node}/network
GET /nodes/{node}/query-url-metadata
GET /nodes/{node}/storage
GET /nodes/{node}/storage/{storage}/content
POST /nodes/{node}/storage/{storage}/upload
POST /nodes/{node}/storage/{storage}/download-url
DELETE /nodes/{node}/storage/{storage}/content/{volume}
GET /nodes/{node}/tasks
GET /nodes/{node}/tasks/{upid}/status
GET /nodes/{node}/tasks/{upid}/log
POST /nodes/{node}/qemu
POST /nodes/{node}/qemu/{vmid}/clone
POST /nodes/{node}/qemu/{vmid}/template
DELETE /nodes/{node}/qemu/{vmid}
GET /nodes/{node}/qemu/{vmid}/config
PUT /nodes/{node}/qemu/{vmid}/config
PUT /nodes/{node}/qemu/{vmid}/resize
GET /nodes/{node}/qemu/{vmid}/status/current
POST /nodes/{node}/qemu/{vmid}/status/start
POST /nodes/{node}/qemu/{vmid}/status/stop
POST /nodes/{node}/qemu/{vmid}/status/shutdown
GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces
""".split("\n")

KEPT = ("type", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "optional", "requires",
        "default_key", "alias", "keyAlias")


def rule(schema):
    kept = {key: schema[key] for key in KEPT if schema.get(key) is not None}
    for bound in ("minimum", "maximum"):
        if bound in kept:
            kept[bound] = float(kept[bound])
    if "pattern" in kept:
        # Perl's own way of writing a group; and {,16}, which other engines take literally.
        kept["pattern"] = kept["pattern"].replace("(?^:", "(?:").replace("{,", "{0,")
    if isinstance(schema.get("format"), dict):
        kept["properties"] = {key: rule(value) for key, value in sorted(schema["format"].items())}
    elif "format" in schema:
        kept["format"] = schema["format"]
    return kept


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    table = {}
    for endpoint in filter(None, ENDPOINTS):
        parameters = schema[endpoint]["parameters"]
        assert parameters.get("additionalProperties", 1) == 0, endpoint
        table[endpoint] = {key: rule(value) for key, value in sorted(parameters.get("properties", {}).items())}
    lines = []
    for endpoint, parameters in table.items():
        rules = [f"  {json.dumps(key)}: {json.dumps(value, sort_keys=True)}" for key, value in parameters.items()]
        lines.append(f" {json.dumps(endpoint)}: {{\n" + ",\n".join(rules) + "\n }")
    print("{\n" + ",\n".join(lines) + "\n}")


main()
