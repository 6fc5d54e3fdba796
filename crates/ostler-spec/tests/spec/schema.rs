//! The JSON Schema that editors check the spec with.

use crate::fixture::{catalog, modules};
use ostler_spec::json_schema;
use serde_json::json;

#[test]
fn the_schema_says_what_the_check_says() {
    let schema = json_schema(&modules(), &catalog()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["properties"]["servers"].is_object() && schema["properties"]["sites"].is_object());
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["patternProperties"]["^x-"].is_object());
    let server = &schema["properties"]["servers"]["additionalProperties"];
    assert_eq!(server["additionalProperties"], false);
    let properties = &server["properties"];
    assert_eq!(properties["provider"]["examples"], json!(["local", "existing"]));
    assert_eq!(properties["user"]["default"], "ops");
    assert_eq!(
        properties["ssh"]["properties"]["root_login"]["enum"],
        json!(["no", "prohibit-password", "yes", false, true])
    );
    let cpus = &properties["size"]["properties"]["cpus"];
    assert_eq!((&cpus["minimum"], &cpus["maximum"], &cpus["default"]), (&json!(1), &json!(256), &json!(2)));
    assert_eq!(properties["password"]["anyOf"][1], json!({ "type": "null" }));
    let fail2ban = &properties["modules"]["properties"]["fail2ban"];
    assert_eq!(fail2ban["description"], "Ban attackers. Bans addresses");
    assert_eq!(fail2ban["anyOf"][1]["properties"]["max_retry"]["maximum"], 100);
    let zones = &properties["modules"]["properties"]["time_sync"]["anyOf"][1]["properties"]["timezone"]["enum"];
    let zones: Vec<&str> = zones.as_array().unwrap().iter().filter_map(|zone| zone.as_str()).collect();
    assert!(zones.contains(&"Europe/Berlin") && zones.contains(&"") && !zones.contains(&"US/Eastern"));
    let params = &properties["app_params"]["properties"];
    assert_eq!(params["nginx"]["properties"]["mode"]["enum"], json!(["fast", "small"]));
    assert_eq!(params["mail"]["required"], json!(["domain"]));
    assert_eq!(params["mail"]["additionalProperties"], true);
    let password = &params["mail"]["properties"]["password"];
    assert_eq!((&password["maxProperties"], &password["description"]), (&json!(1), &json!("Of the postmaster")));
    let catalog = &schema["properties"]["catalog"]["anyOf"][0]["properties"];
    assert_eq!(catalog["vault_password"]["anyOf"][0]["maxProperties"], 1);
}
