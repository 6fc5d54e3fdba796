//! Tunnels in an account at the fake Cloudflare, as its owner sees them there.

use ostler_core::{
    Failure, Result,
    ids::{ServerName, StateId},
    model::{TunnelChange, TunnelLedger},
    ports::{KeepTunnel, TunnelOrder, Tunnels},
    secret::Secret,
    spec::{SecretRef, TunnelEndpoint, TunnelOptions},
};
use ostler_testkit::cloudflare::{ACCOUNT, FakeCloudflare, Fault, PERMISSIONS, TOKEN};
use ostler_tunnels::{CloudflareTunnels, Patience, Tokens};
use serde_json::{Value, json};
use std::{sync::Mutex, time::Duration};

struct Token(String);

#[async_trait::async_trait]
impl Tokens for Token {
    async fn token(&self, _: &SecretRef) -> Result<Secret> {
        Ok(Secret::new(self.0.clone()))
    }
}

/// What was kept last, as a store does.
#[derive(Default)]
struct Kept(Mutex<TunnelLedger>);

#[async_trait::async_trait]
impl KeepTunnel for Kept {
    async fn keep(&self, made: &TunnelLedger) -> Result<()> {
        *self.0.lock().unwrap() = made.clone();
        Ok(())
    }
}

struct Bench {
    fake: FakeCloudflare,
    order: TunnelOrder,
    kept: Kept,
    token: String,
    owner: reqwest::Client,
}

impl Bench {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fake = FakeCloudflare::start().await.expect("the fake starts");
        let via = TunnelEndpoint {
            name: "edge".into(),
            account: ACCOUNT.into(),
            token: SecretRef::Secret("cloudflare".into()),
            url: fake.url(),
        };
        let options = TunnelOptions { via, hostname: "ssh-web.example.com".into(), close_ssh: true };
        let order = TunnelOrder { server: ServerName::parse("web").unwrap(), owner: StateId::new(), options, port: 22 };
        Self { fake, order, kept: Kept::default(), token: TOKEN.to_owned(), owner: reqwest::Client::new() }
    }

    fn tunnels(&self) -> CloudflareTunnels {
        let patience = Patience { attempts: 3, pause: Duration::from_millis(5), ..Patience::default() };
        CloudflareTunnels::new(Box::new(Token(self.token.clone()))).with_patience(patience)
    }

    fn made(&self) -> TunnelLedger {
        self.kept.0.lock().unwrap().clone()
    }

    /// As an Ostler does: with what was kept last.
    async fn open(&self) -> Result<TunnelLedger> {
        let made = self.tunnels().open(&self.order, self.made(), &self.kept).await?;
        self.kept.keep(&made).await?;
        Ok(made)
    }

    async fn look(&self) -> Result<Vec<TunnelChange>> {
        self.tunnels().look(&self.order, &self.made()).await
    }

    async fn close(&self) -> Result<Vec<String>> {
        self.tunnels().close(&self.order, self.made(), &self.kept).await
    }

    /// What the account's owner does by other means.
    async fn by_hand(&self, method: &str, path: &str, body: Value) -> Value {
        let path = path.replace("ACCOUNT", &format!("accounts/{ACCOUNT}"));
        let request = self.owner.request(method.parse().unwrap(), format!("{}/{path}", self.fake.url()));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = request.bearer_auth(TOKEN).body(body).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["success"], true, "{answer}");
        answer["result"].clone()
    }

    async fn zone(&self) -> String {
        let zones = self.owner.get(format!("{}/zones", self.fake.url())).bearer_auth(TOKEN).send().await.unwrap();
        let zones: Value = serde_json::from_str(&zones.text().await.unwrap()).unwrap();
        zones["result"][0]["id"].as_str().unwrap().to_owned()
    }

    fn ingress(&self) -> Vec<(String, String)> {
        let documents = self.fake.resources("configurations");
        let text = |value: &Value| value.as_str().unwrap_or("*").to_owned();
        let rules = documents[0]["config"]["ingress"].as_array().unwrap().iter();
        rules.map(|rule| (text(&rule["hostname"]), text(&rule["service"]))).collect()
    }

    /// Requests that change something, since the last call.
    fn writes(&self, from: &mut usize) -> Vec<String> {
        let all = self.fake.requests();
        let new =
            all[*from..].iter().filter(|seen| !seen.endpoint.starts_with("GET ")).map(|seen| seen.endpoint.clone());
        let new = new.collect();
        *from = all.len();
        new
    }

    fn live_tunnels(&self) -> usize {
        self.fake.resources("tunnels").iter().filter(|tunnel| tunnel["deleted_at"].is_null()).count()
    }

    fn assert_nothing_left(&self) {
        for family in ["dns_records", "apps", "service_tokens"] {
            assert_eq!(self.fake.resources(family), [] as [Value; 0], "{family}");
        }
        assert_eq!(self.live_tunnels(), 0);
    }
}

fn words(failure: &Failure) -> String {
    format!("{failure} {:?}", failure.causes)
}

#[tokio::test]
async fn a_tunnel_is_made_once_and_taken_away() {
    let bench = Bench::start().await;
    let mut seen = 0;
    use TunnelChange::*;
    let all = [MakeTunnel, MakeServiceToken, MakeApplication, SetIngressRule, MakeRecord];
    assert_eq!(bench.look().await.unwrap(), all);
    assert_eq!(bench.writes(&mut seen), [""; 0], "a look makes nothing");
    let made = bench.open().await.unwrap();
    let writes = bench.writes(&mut seen);
    let place = |endpoint: &str| writes.iter().position(|write| write.ends_with(endpoint)).unwrap();
    assert!(place("/access/apps") < place("/configurations"), "it is closed before it leads anywhere: {writes:?}");
    assert!(place("/configurations") < place("/dns_records"), "{writes:?}");
    let rest = ("*".to_owned(), "http_status:404".to_owned());
    let ours = |port: u16| ("ssh-web.example.com".to_owned(), format!("ssh://localhost:{port}"));
    assert_eq!(bench.ingress(), [ours(22), rest.clone()]);
    let tunnel = made.tunnel.clone().unwrap();
    let record = &bench.fake.resources("dns_records")[0];
    assert_eq!((&record["content"], &record["proxied"]), (&json!(format!("{tunnel}.cfargotunnel.com")), &json!(true)));
    assert!(made.dns.as_ref().unwrap().created && made.token.is_some());

    assert_eq!(bench.open().await.unwrap(), made);
    assert_eq!(bench.writes(&mut seen), [""; 0], "the second time nothing changes");
    assert_eq!(bench.look().await.unwrap(), []);
    let moved = TunnelOrder { port: 2200, ..bench.order.clone() };
    assert_eq!(bench.tunnels().look(&moved, &made).await.unwrap(), [SetIngressRule]);
    bench.tunnels().open(&moved, bench.made(), &bench.kept).await.unwrap();
    assert_eq!(bench.ingress(), [ours(2200), rest]);

    assert_eq!(bench.close().await.unwrap(), [""; 0]);
    bench.assert_nothing_left();
    assert_eq!(bench.close().await.unwrap(), [""; 0], "once more is fine");
}

#[tokio::test]
async fn what_others_made_stays() {
    let bench = Bench::start().await;
    let tunnel = bench.open().await.unwrap().tunnel.unwrap();
    let theirs = json!({ "hostname": "www.example.com", "service": "http://localhost:80", "originRequest": { "connectTimeout": 5 } });
    let document = json!({ "config": { "ingress": [theirs, { "service": "http_status:404" }] } });
    bench.by_hand("PUT", &format!("ACCOUNT/cfd_tunnel/{tunnel}/configurations"), document).await;
    let app = json!({ "name": "theirs", "type": "self_hosted", "domain": "www.example.com" });
    bench.by_hand("POST", "ACCOUNT/access/apps", app).await;
    let record = json!({ "name": "www", "type": "A", "content": "192.0.2.1", "ttl": 1 });
    bench.by_hand("POST", &format!("zones/{}/dns_records", bench.zone().await), record).await;
    bench.by_hand("POST", "ACCOUNT/cfd_tunnel", json!({ "name": "theirs" })).await;

    bench.open().await.unwrap();
    assert_eq!(bench.ingress().len(), 3);
    let stays = bench.close().await.unwrap();
    assert!(stays[0].contains("1 ingress rules that Ostler did not make"), "{stays:?}");
    assert_eq!(bench.fake.resources("configurations")[0]["config"]["ingress"][0], theirs);
    assert_eq!(bench.fake.resources("apps")[0]["name"], "theirs");
    assert_eq!(bench.fake.resources("dns_records")[0]["name"], "www.example.com");
    assert_eq!(bench.live_tunnels(), 2);
    assert!(bench.fake.resources("service_tokens").is_empty());
}

#[tokio::test]
async fn a_record_that_led_here_before_is_adopted_and_one_that_leads_elsewhere_is_refused() {
    let bench = Bench::start().await;
    let records = format!("zones/{}/dns_records", bench.zone().await);
    let record =
        |content: &str| json!({ "name": "ssh-web", "type": "CNAME", "content": content, "ttl": 1, "proxied": true });
    let elsewhere = bench.by_hand("POST", &records, record("elsewhere.example.net")).await;
    assert!(words(&bench.look().await.unwrap_err()).contains("has a DNS record already"));
    let refused = bench.open().await.unwrap_err();
    assert!(words(&refused).contains("has a DNS record already: CNAME elsewhere.example.net"), "{refused}");
    assert_eq!(bench.live_tunnels(), 0, "nothing is made then");
    bench.by_hand("DELETE", &format!("{records}/{}", elsewhere["id"].as_str().unwrap()), Value::Null).await;

    let name = format!("ostler web {}", bench.order.owner);
    let tunnel = bench.by_hand("POST", "ACCOUNT/cfd_tunnel", json!({ "name": name, "config_src": "cloudflare" })).await;
    let target = format!("{}.cfargotunnel.com", tunnel["id"].as_str().unwrap());
    bench.by_hand("POST", &records, record(&target)).await;
    assert_eq!(bench.look().await.unwrap().last(), Some(&TunnelChange::AdoptRecord));
    let made = bench.open().await.unwrap();
    assert_eq!(bench.look().await.unwrap(), []);
    assert_eq!(made.tunnel.as_deref(), tunnel["id"].as_str(), "a tunnel of a crashed run is found by its name");
    assert!(!made.dns.unwrap().created);
    let stays = bench.close().await.unwrap();
    assert!(stays[0].contains("it was there before"), "{stays:?}");
    assert_eq!(bench.fake.resources("dns_records").len(), 1);
}

#[tokio::test]
async fn an_application_of_somebody_else_for_the_host_name_is_refused() {
    let bench = Bench::start().await;
    let app = json!({ "name": "theirs", "type": "self_hosted", "domain": "ssh-web.example.com" });
    bench.by_hand("POST", "ACCOUNT/access/apps", app).await;
    let refused = bench.open().await.unwrap_err();
    assert!(words(&refused).contains("Access application `theirs`"), "{refused}");
    assert_eq!(bench.live_tunnels(), 0);
}

#[tokio::test]
async fn missing_permissions_are_named_before_anything_is_made() {
    let mut bench = Bench::start().await;
    for missing in PERMISSIONS {
        let rest: Vec<&str> = PERMISSIONS.into_iter().filter(|name| *name != missing).collect();
        bench.token = bench.fake.token(&rest);
        let failure = bench.open().await.unwrap_err();
        let named = if missing == "Zone Read" { "in no zone that the token may see" } else { missing };
        assert!(words(&failure).contains(named), "{missing}: {failure}");
        assert!(words(&bench.look().await.unwrap_err()).contains(named), "{missing}");
        assert_eq!(failure.blame.exit_code(), 3);
    }
    bench.token = bench.fake.token(&["Zone Read"]);
    let all = bench.open().await.unwrap_err();
    assert!(
        words(&all).contains(
            "Cloudflare Tunnel Write, Access: Apps and Policies Write, Access: Service Tokens Write, DNS Write"
        ),
        "{all}"
    );
    bench.token = "nonsense".to_owned();
    assert!(words(&bench.open().await.unwrap_err()).contains("does not know the token of tunnels.edge"));
    assert_eq!(bench.live_tunnels(), 0);
    let readers = [
        "Cloudflare Tunnel Read",
        "Access: Apps and Policies Read",
        "Access: Service Tokens Read",
        "Zone Read",
        "DNS Read",
    ];
    bench.token = bench.fake.token(&readers);
    let failure = bench.open().await.unwrap_err();
    assert!(words(&failure).contains("lacks the permission Cloudflare Tunnel Write"), "{failure}");
}

#[tokio::test]
async fn of_two_states_that_want_a_host_name_at_once_one_gets_it() {
    let bench = Bench::start().await;
    let orders = [bench.order.clone(), TunnelOrder { owner: StateId::new(), ..bench.order.clone() }];
    let kept = [Kept::default(), Kept::default()];
    let (tunnels, none) = (bench.tunnels(), TunnelLedger::default());
    let (first, second) = tokio::join!(
        tunnels.open(&orders[0], none.clone(), &kept[0]),
        tunnels.open(&orders[1], none.clone(), &kept[1]),
    );
    let (winner, loser, failure) = match (first, second) {
        (Ok(_), Err(failure)) => (0, 1, failure),
        (Err(failure), Ok(_)) => (1, 0, failure),
        other => panic!("one and only one: {other:?}"),
    };
    assert!(words(&failure).contains("already"), "{failure:?}");
    let made = |which: usize| kept[which].0.lock().unwrap().clone();
    let again = tunnels.open(&orders[loser], made(loser), &kept[loser]).await.unwrap_err();
    assert!(words(&again).contains("ssh-web.example.com"), "{again:?}");
    tunnels.close(&orders[loser], made(loser), &kept[loser]).await.unwrap();
    assert_eq!(bench.live_tunnels(), 1);
    assert_eq!(tunnels.look(&orders[winner], &made(winner)).await.unwrap(), [], "what the other has is whole");
}

/// Each request that changes something is done without its answer coming back, and refused; the next run finds what there is.
#[tokio::test]
async fn cut_off_at_each_request_and_gone_on_with() {
    let writes = [
        "POST /accounts/{account_id}/cfd_tunnel",
        "POST /accounts/{account_id}/access/service_tokens",
        "POST /accounts/{account_id}/access/apps",
        "PUT /accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations",
        "POST /zones/{zone_id}/dns_records",
        "GET /accounts/{account_id}/cfd_tunnel/{tunnel_id}/token",
    ];
    for endpoint in writes {
        for fault in [Fault::ActAndDrop, Fault::Error(500, 1)] {
            let bench = Bench::start().await;
            // What only looks is asked three times.
            for _ in 0..if endpoint.starts_with("GET ") { 3 } else { 1 } {
                bench.fake.fail(endpoint, fault);
            }
            bench.open().await.expect_err(endpoint);
            let made = bench.open().await.unwrap();
            assert_eq!(bench.live_tunnels(), 1, "{endpoint}: a twin");
            for family in ["dns_records", "apps", "service_tokens"] {
                assert_eq!(bench.fake.resources(family).len(), 1, "{endpoint}: {family}");
            }
            assert!(made.dns.unwrap().created, "{endpoint}: our own record is taken for another's");
            bench.close().await.unwrap();
            bench.assert_nothing_left();
        }
    }
}
