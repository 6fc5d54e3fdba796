#!/usr/bin/env python3
"""Makes schema.json: what the fake holds requests and its own answers against, out of Hetzner's own schema.

    extract.py SCHEMA > schema.json

SCHEMA is the Hetzner Cloud API as OpenAPI 3 (hcloud-openapi of 2026-02-20, by Maximilian Köstler, MIT licence). What is for people is left out: descriptions, titles
and examples. What has changed since is in `mend`.
"""
import copy
import json
import sys

LEFT_OUT = ("storage_box", "floating_ip", "datacenters", "metrics")
KEPT = ("$ref", "type", "enum", "required", "nullable", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
        "pattern", "format")


def rule(schema):
    if "allOf" in schema:
        assert len(schema["allOf"]) == 1, schema
        return rule({**schema["allOf"][0], **{key: value for key, value in schema.items() if key != "allOf"}})
    assert "oneOf" not in schema and "anyOf" not in schema, schema
    kept = {key: schema[key] for key in KEPT if schema.get(key) not in (None, False, [])}
    if "$ref" in kept:
        kept["$ref"] = kept["$ref"].rsplit("/", 1)[1]
        return {key: kept[key] for key in ("$ref", "nullable") if key in kept}
    if "properties" in schema:
        kept["properties"] = {key: rule(value) for key, value in sorted(schema["properties"].items())}
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = rule(schema["additionalProperties"])
    if "items" in schema:
        kept["items"] = rule(schema["items"])
    return kept


def body(part):
    return rule(part["content"]["application/json"]["schema"]) if part and "content" in part else None


def without(schema, name):
    """Takes a property out of a schema, wherever it stands."""
    if isinstance(schema, dict):
        schema.get("properties", {}).pop(name, None)
        if name in schema.get("required", []):
            schema["required"].remove(name)
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        without(value, name)


def mend(table):
    """What Hetzner has changed since the schema was made."""
    without(table, "datacenter")
    # The availability of a server type is said by location.
    location = table["schemas"]["server_type_location"]
    location["properties"] |= {"available": {"type": "boolean"}, "recommended": {"type": "boolean"}}
    unassigned(table)
    # Images say when they go as server types do; `deprecated` is announced to go.
    image = table["schemas"]["image"]
    image["properties"]["deprecation"] = {"$ref": "deprecation_info", "nullable": True}
    del image["properties"]["deprecated"]
    image["required"] = [name for name in image["required"] if name != "deprecated"] + ["deprecation"]
    # `assignee_type` became optional with `unassigned`.
    table["schemas"]["create_primary_ip_request"]["required"].remove("assignee_type")
    # A load balancer's end is an action.
    table["endpoints"]["DELETE /load_balancers/{id}"] |= {"status": 200, "answer": {"$ref": "delete_server_response"}}


def loosen(table):
    """What Hetzner takes, as its clients show, and the schema does not say."""
    # Names or ids, where the schema only has texts.
    for name, request in table["schemas"].items():
        if name.endswith("_request"):
            for field in ("image", "iso", "load_balancer_type", "location", "server_type"):
                if field in request.get("properties", {}):
                    request["properties"][field] = {}
    table["schemas"]["create_server_request"]["properties"]["ssh_keys"]["items"] = {}
    # The client's type for a subnet has a gateway, and so the request has an empty one.
    table["schemas"]["subnet"]["properties"]["gateway"] = {"type": "string"}
    # Much of a service has defaults.
    service = copy.deepcopy(table["schemas"]["load_balancer_service"])
    service["required"] = ["protocol"]
    check = service["properties"]["health_check"]
    del check["required"], check["properties"]["http"]["required"]
    table["schemas"]["load_balancer_service_request"] = service
    wanted = {"$ref": "load_balancer_service_request"}
    table["schemas"]["create_load_balancer_request"]["properties"]["services"]["items"] = wanted
    table["endpoints"]["POST /load_balancers/{id}/actions/add_service"]["body"] = wanted


def unassigned(schema):
    if isinstance(schema, dict):
        assignee = schema.get("properties", {}).get("assignee_type", {})
        if "enum" in assignee:
            assignee["enum"] = ["server", "unassigned"]
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        unassigned(value)


def references(schema, found):
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            found.add(schema["$ref"])
        schema = list(schema.values())
    for value in schema if isinstance(schema, list) else ():
        references(value, found)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        source = json.load(file)
    endpoints = {}
    for path, methods in source["paths"].items():
        if any(word in path for word in LEFT_OUT):
            continue
        for method, one in methods.items():
            if method == "servers":
                continue
            status, answer = next((code, answer) for code, answer in one["responses"].items() if code.startswith("2"))
            query = {each["name"]: rule(each["schema"]) for each in one.get("parameters", []) if each["in"] == "query"}
            endpoints[f"{method.upper()} {path}"] = {
                "status": int(status), "query": query, "body": body(one.get("requestBody")), "answer": body(answer),
            }
    schemas, wanted = {}, set()
    references(endpoints, wanted)
    while missing := wanted - schemas.keys():
        for name in missing:
            schemas[name] = rule(source["components"]["schemas"][name])
            references(schemas[name], wanted)
    table = {"endpoints": endpoints, "schemas": schemas}
    mend(table)
    loosen(table)
    # What only the endpoints need that are no more goes too.
    needed = set()
    references(endpoints, needed)
    before = None
    while before != needed:
        before = set(needed)
        for name in before:
            references(schemas[name], needed)
    line = lambda key, value: f"  {json.dumps(key)}: {json.dumps(value, sort_keys=True)}"
    parts = [
        f' "endpoints": {{\n' + ",\n".join(line(key, value) for key, value in endpoints.items()) + "\n }",
        f' "schemas": {{\n' + ",\n".join(line(key, schemas[key]) for key in sorted(needed)) + "\n }",
    ]
    print("{\n" + ",\n".join(parts) + "\n}")


main()
