//! What lists take, and how labels and names are held.

use crate::client::{Client, SSH_KEY, refusal};
use serde_json::{Value, json};

fn names(list: &Value, family: &str) -> Vec<String> {
    list[family].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_has_pages_in_an_order() {
    let client = Client::start().await;
    for number in 1..=5 {
        let labels = json!({ "odd": (number % 2 == 1).to_string(), "n": number.to_string() });
        client
            .post("/networks", json!({ "name": format!("n{number}"), "ip_range": "10.0.0.0/16", "labels": labels }))
            .await;
    }
    let list = |query: &str| {
        let path = format!("/networks?{query}");
        let client = &client;
        async move { client.get(&path).await }
    };
    let page = list("per_page=2&page=2").await;
    assert_eq!(names(&page, "networks"), ["n3", "n4"]);
    let pagination = json!({
        "page": 2, "per_page": 2, "previous_page": 1, "next_page": 3, "last_page": 3, "total_entries": 5,
    });
    assert_eq!(page["meta"]["pagination"], pagination);
    assert_eq!(list("per_page=2&page=3").await["meta"]["pagination"]["next_page"], Value::Null);
    assert_eq!(list("per_page=500").await["meta"]["pagination"]["per_page"], 50);
    assert_eq!(names(&list("sort=name:desc&per_page=2").await, "networks"), ["n5", "n4"]);
    assert_eq!(names(&list("name=n2").await, "networks"), ["n2"]);
    assert_eq!(names(&list("label_selector=odd%3Dtrue,n%20notin%20(1,3)").await, "networks"), ["n5"]);
    for (query, field) in [("label_selector=a%20b", "label_selector"), ("sort=size", "sort"), ("page=0", "page")] {
        let answer = client.call("GET", &format!("/networks?{query}"), Value::Null).await;
        assert_eq!((answer.code(), answer.fields()), ("invalid_input", vec![field]), "{query}");
    }
}

#[tokio::test]
async fn names_and_fingerprints_are_unique_and_labels_well_formed() {
    let client = Client::start().await;
    let key = client.post("/ssh_keys", json!({ "name": "one", "public_key": SSH_KEY })).await["ssh_key"].clone();
    let fingerprint = key["fingerprint"].as_str().unwrap();
    assert_eq!(fingerprint.len(), 47);
    let again = client.call("POST", "/ssh_keys", json!({ "name": "two", "public_key": SSH_KEY })).await;
    assert_eq!((again.status, again.code(), again.fields()), (409, "uniqueness_error", vec!["public_key"]));
    let same_name = client.call("POST", "/ssh_keys", json!({ "name": "one", "public_key": SSH_KEY })).await;
    assert_eq!((same_name.code(), same_name.fields()), ("uniqueness_error", vec!["name"]));
    let found = client.get(&format!("/ssh_keys?fingerprint={fingerprint}")).await;
    assert_eq!(found["ssh_keys"][0]["id"], key["id"]);
    let broken = client.call("POST", "/ssh_keys", json!({ "name": "x", "public_key": "ssh-ed25519 AAAA" })).await;
    assert_eq!(broken.fields(), ["public_key"]);

    let path = format!("/ssh_keys/{}", key["id"]);
    let labelled = client.succeed("PUT", &path, json!({ "labels": { "ostler.dev/for": "web1" } })).await;
    assert_eq!(
        (&labelled["ssh_key"]["name"], &labelled["ssh_key"]["labels"]["ostler.dev/for"]),
        (&json!("one"), &json!("web1"))
    );
    for labels in [json!({ "hetzner.cloud/a": "b" }), json!({ "-": "b" }), json!({ "a": "b c" })] {
        assert_eq!(
            client.refused("PUT", &path, json!({ "labels": labels })).await,
            refusal(422, "invalid_input"),
            "{labels}"
        );
    }
    assert_eq!(client.call("DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(client.refused("GET", &path, Value::Null).await, refusal(404, "not_found"));
}

#[tokio::test]
async fn what_is_offered_says_where_it_is_to_be_had() {
    let client = Client::start().await;
    client.cloud.sell_out("cx23", "nbg1");
    let types = client.get("/server_types?name=cx23").await;
    let available = |place: &str| {
        let places = types["server_types"][0]["locations"].as_array().unwrap();
        places.iter().find(|location| location["name"] == place).map(|location| location["available"].clone())
    };
    assert_eq!([available("fsn1"), available("nbg1"), available("ash")], [Some(json!(true)), Some(json!(false)), None]);
    let gone = client.get("/server_types?name=cx22").await["server_types"][0].clone();
    assert!(gone["deprecation"]["unavailable_after"].is_string() && gone["locations"][0]["available"] == false);
    let images = client.get("/images?type=system&name=debian-13&architecture=x86").await;
    assert_eq!(names(&images, "images"), ["debian-13"]);
    assert_eq!(client.get("/images?name=debian-11").await["images"], json!([]), "deprecated");
    for path in ["/locations", "/isos", "/load_balancer_types", "/pricing", "/images?include_deprecated=true"] {
        client.get(path).await;
    }
    assert_eq!(client.refused("GET", "/datacenters", Value::Null).await, refusal(410, "deprecated_api_endpoint"));
    assert_eq!(client.refused("GET", "/datacenters/1", Value::Null).await, refusal(410, "deprecated_api_endpoint"));
    assert_eq!(client.refused("GET", "/floating_ips/1/x", Value::Null).await, refusal(404, "not_found"));
    assert_eq!(client.refused("PUT", "/locations", json!({})).await, refusal(405, "method_not_allowed"));
}
