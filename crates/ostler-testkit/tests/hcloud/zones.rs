//! DNS zones.

use crate::client::{Client, refusal};
use serde_json::{Value, json};

#[tokio::test]
async fn a_zone_has_record_sets() {
    let client = Client::start().await;
    let zone =
        client.done("POST", "/zones", json!({ "name": "example.org", "mode": "primary", "ttl": 300 })).await["zone"]
            .clone();
    assert_eq!((&zone["record_count"], &zone["ttl"]), (&json!(4), &json!(300)));
    let again = client.refused("POST", "/zones", json!({ "name": "example.org", "mode": "primary" })).await;
    assert_eq!(again, refusal(409, "uniqueness_error"));

    let sets = "/zones/example.org/rrsets";
    let www =
        json!({ "name": "www", "type": "A", "ttl": 60, "records": [{ "value": "198.51.100.1", "comment": "web1" }] });
    let made = client.done("POST", sets, www.clone()).await["rrset"].clone();
    assert_eq!((&made["id"], &made["zone"]), (&json!("www/A"), &zone["id"]));
    assert_eq!(client.refused("POST", sets, www).await, refusal(409, "uniqueness_error"));
    for (name, kind, value) in
        [("www", "A", "::1"), ("x", "TXT", "bare"), ("Www", "A", "198.51.100.1"), ("www", "CNAME", "a.")]
    {
        let body = json!({ "name": name, "type": kind, "records": [{ "value": value }] });
        assert_eq!(client.refused("POST", sets, body).await, refusal(422, "invalid_input"), "{name} {kind} {value}");
    }

    // Two at once, as two challenges come: both are there, and the set is made by the first.
    let challenge = format!("{sets}/_acme-challenge/TXT");
    let (add, records) = (
        format!("{challenge}/actions/add_records"),
        |value: &str| json!({ "records": [{ "value": value }], "ttl": 60 }),
    );
    let (one, two) = (client.post(&add, records("\"one\"")).await, client.post(&add, records("\"two\"")).await);
    for action in [&one["action"], &two["action"]] {
        assert_eq!(client.over(action).await["status"], "success");
    }
    assert_eq!(client.get(&challenge).await["rrset"]["records"].as_array().unwrap().len(), 2);
    let remove = |value: &str| json!({ "records": [{ "value": value }] });
    client.done("POST", &format!("{challenge}/actions/remove_records"), remove("\"one\"")).await;
    let missing = client.refused("POST", &format!("{challenge}/actions/remove_records"), remove("\"one\"")).await;
    assert_eq!(missing, refusal(404, "not_found"));
    client.done("POST", &format!("{challenge}/actions/remove_records"), remove("\"two\"")).await;
    assert_eq!(
        client.refused("GET", &challenge, Value::Null).await,
        refusal(404, "not_found"),
        "one without records is none"
    );

    let set = format!("{sets}/www/A");
    client
        .done("POST", &format!("{set}/actions/set_records"), json!({ "records": [{ "value": "198.51.100.2" }] }))
        .await;
    client
        .done(
            "POST",
            &format!("{set}/actions/update_records"),
            json!({ "records": [{ "value": "198.51.100.2", "comment": "web2" }] }),
        )
        .await;
    client.done("POST", &format!("{set}/actions/change_ttl"), json!({ "ttl": 120 })).await;
    client.done("POST", &format!("{set}/actions/change_protection"), json!({ "change": true })).await;
    assert_eq!(client.refused("DELETE", &set, Value::Null).await, refusal(423, "protected"));
    client.done("POST", &format!("{set}/actions/change_protection"), json!({ "change": false })).await;
    let listed = client.get(&format!("{sets}?type=A")).await["rrsets"].clone();
    assert_eq!((&listed[0]["records"][0]["comment"], &listed[0]["ttl"]), (&json!("web2"), &json!(120)));
    assert!(
        client.get("/zones/example.org/zonefile").await["zonefile"]
            .as_str()
            .unwrap()
            .contains("www\t120\tIN\tA\t198.51.100.2\n")
    );
    client.done("DELETE", &set, Value::Null).await;

    let nameservers = json!([{ "address": "198.51.100.53" }]);
    let second = json!({ "name": "example.net", "mode": "secondary", "primary_nameservers": nameservers });
    client.done("POST", "/zones", second).await;
    let wrong = client.refused("GET", "/zones/example.net/rrsets", Value::Null).await;
    assert_eq!(wrong, refusal(422, "incorrect_zone_mode"));
    client.done("DELETE", &format!("/zones/{}", zone["id"]), Value::Null).await;
    assert_eq!(client.cloud.resources("zones").len(), 1);
}
