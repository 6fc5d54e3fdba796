//! What a user sees of Hetzner Cloud, also where things go wrong: the cloud is a fake that is held to the vendor's schema, its servers are
//! records only. So `up` gets as far as waiting for SSH, which is the sign that the server is made.

use ostler_testkit::{
    environment::{Finished, TestEnvironment},
    hcloud::{FakeCloud, Fault, Machine, Machines, Power, READ_ONLY_TOKEN, Records, TOKEN},
};
use std::{
    collections::BTreeMap,
    fs::File,
    net::Ipv6Addr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

const UP: &[&str] = &["up", "ostler.yaml", "--timeout", "1"];
const RESUME: &[&str] = &["resume", "web1", "--timeout", "1"];

/// Machines at addresses that nothing can be sent to, for they do not say on which link: no test talks to somebody's network.
#[derive(Debug, Default)]
struct Nowhere(Records);

impl Machines for Nowhere {
    fn create(&self, machine: &Machine) -> Result<(), String> {
        self.0.create(machine)
    }

    fn power(&self, id: u64, power: Power) -> Result<(), String> {
        self.0.power(id, power)
    }

    fn runs(&self, id: u64) -> bool {
        self.0.runs(id)
    }

    fn delete(&self, id: u64) {
        self.0.delete(id);
    }

    fn ipv6(&self, number: u32) -> Ipv6Addr {
        Ipv6Addr::from((0xfe80 << 112) | (u128::from(number) << 64))
    }
}

/// A user of a project.
struct User {
    environment: TestEnvironment,
}

impl User {
    fn of(cloud: &FakeCloud) -> Self {
        Self::with(cloud, "type: cx23, location: fsn1")
    }

    fn with(cloud: &FakeCloud, hetzner: &str) -> Self {
        let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"));
        environment.make_key();
        environment.write("token", TOKEN);
        let user = Self { environment };
        user.writes(cloud, hetzner);
        user
    }

    fn writes(&self, cloud: &FakeCloud, hetzner: &str) {
        self.environment.write(
            "ostler.yaml",
            &format!(
                r#"providers:
  hc: {{ kind: hetzner, token: {{ file: token }}, endpoint: "{}" }}
servers:
  web1:
    provider: hc
    hetzner: {{ ipv4: false, {hetzner} }}
    authorized_keys: [ id_ed25519.pub ]
"#,
                cloud.url()
            ),
        );
    }

    fn runs(&self, arguments: &[&str]) -> Finished {
        let finished = self.environment.run(arguments);
        for text in [&finished.stdout, &finished.stderr] {
            assert!(!text.contains(&TOKEN[..12]), "{arguments:?} shows the token: {text}");
        }
        finished
    }

    /// The server is made and started, and only SSH is missing.
    #[track_caller]
    fn gets_to_ssh(&self, arguments: &[&str]) -> Finished {
        let finished = self.runs(arguments);
        assert_eq!(finished.code, 5, "{}", finished.stderr);
        assert!(finished.stderr.contains("waiting for SSH"), "{}", finished.stderr);
        finished
    }

    #[track_caller]
    fn destroys(&self) {
        self.runs(&["destroy", "web1", "--yes"]).ok();
        assert_eq!(self.servers(), 0);
    }

    fn servers(&self) -> usize {
        let list = self.runs(&["status", "--output", "json"]).ok().json_lines().remove(0);
        list.as_array().expect("a list").len()
    }
}

fn cloud() -> FakeCloud {
    FakeCloud::on_a_thread(Arc::new(Nowhere::default())).expect("a cloud")
}

/// One server with what goes with it.
fn one_server() -> BTreeMap<&'static str, usize> {
    ["servers", "firewalls", "ssh_keys", "primary_ips"].map(|family| (family, 1)).into()
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within 60 s");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Every request that changes something.
const CHANGES: [&str; 4] = ["POST /ssh_keys", "POST /firewalls", "POST /servers", "POST /servers/{id}/actions/poweron"];

/// `kill -9` while a request is under way, whether it is carried out or not; then goes on.
fn killed_at(endpoint: &str, fault: Fault, then: &[&str]) {
    let cloud = cloud();
    let user = User::of(&cloud);
    cloud.fail(endpoint, fault.clone());
    let running = user.environment.start(UP);
    wait_until(endpoint, || !cloud.requests_for(endpoint).is_empty());
    running.kill();
    let case = format!("killed at {endpoint} ({fault:?}), then {then:?}");
    let finished = user.runs(then);
    assert!(finished.code == 5 && finished.stderr.contains("waiting for SSH"), "{case}: {}", finished.stderr);
    assert_eq!(cloud.holdings(), one_server(), "{case}");
    let servers = cloud.resources("servers");
    assert_eq!(servers.values().next().expect("a server")["status"], "running", "{case}");
    user.destroys();
    assert_eq!(cloud.holdings(), [].into(), "{case}");
}

#[test]
fn killed_while_any_request_is_under_way_it_goes_on_and_leaves_no_orphan() {
    thread::scope(|scope| {
        for (number, change) in CHANGES.into_iter().enumerate() {
            let [once, again] = if number % 2 == 0 { [UP, RESUME] } else { [RESUME, UP] };
            // Most of the time is spent waiting.
            scope.spawn(move || killed_at(change, Fault::Stall, once));
            scope.spawn(move || killed_at(change, Fault::ActAndStall, again));
        }
    });
}

#[test]
fn of_two_ostlers_that_want_one_name_one_gets_it_and_the_other_is_told() {
    let cloud = cloud();
    let users = [(); 2].map(|()| User::of(&cloud));
    let running = users.each_ref().map(|user| user.environment.start(UP));
    let [first, second] = users;
    let mut racers: Vec<_> = [first, second].into_iter().zip(running.map(|running| running.finish())).collect();
    racers.sort_by_key(|(_, finished)| finished.code == 5);
    let [(loser, told), (winner, made)] = racers.try_into().ok().expect("two");
    assert_eq!(made.code, 5, "{}", made.stderr);
    assert!(told.stdout.contains("the project has a server `web1` already"), "{}", told.stdout);
    if loser.servers() == 1 {
        loser.destroys();
    }
    assert_eq!(cloud.holdings(), one_server(), "the winner's is untouched");
    winner.destroys();
    assert_eq!(cloud.holdings(), [].into());
}

#[test]
fn a_plan_says_what_a_server_costs_and_what_keeps_it_from_being_made() {
    let cloud = cloud();
    let user = User::with(&cloud, "type: [cx23, cax11], location: [fsn1, hel1]");
    let plan = user.runs(&["plan", "ostler.yaml"]).ok().stdout;
    let price = "web1  create a machine: 4.15 EUR a month (3.49 without VAT) for cx23 in fsn1\n";
    assert!(plan.contains(price), "{plan}");
    cloud.sell_out("cx23", "fsn1");
    let plan = user.runs(&["plan", "ostler.yaml"]).ok().stdout;
    assert!(plan.contains("for cx23 in hel1\n"), "{plan}");

    user.environment.write("token", READ_ONLY_TOKEN);
    let refused = user.runs(UP);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("cause: the token of `hc` may only read\n"), "{}", refused.stderr);
    user.environment.write("token", "nobodys");
    let refused = user.runs(UP);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("`hc` does not accept the token"), "{}", refused.stderr);
    assert_eq!((cloud.holdings(), user.servers()), ([].into(), 0));
}

#[test]
fn a_server_that_never_boots_is_listed_and_destroyed_where_that_is_asked_for() {
    let cloud = cloud();
    let user = User::with(&cloud, "type: [cx23, cax11], location: [fsn1, nbg1], protect: true");
    cloud.fail("POST /servers", Fault::Error("resource_unavailable", "error during placement"));
    let failed = user.gets_to_ssh(UP);
    assert!(failed.stderr.contains("at Hetzner (cx23 in nbg1)\n"), "{}", failed.stderr);
    let row = user.runs(&["status", "--output", "json"]).ok().json_lines().remove(0);
    assert!(
        row[0]["power"] == "on" && row[0]["detail"].as_str().is_some_and(|it| it.contains("cx23 in nbg1")),
        "{row}"
    );
    let asked = user.runs(&["rebuild", "web1"]);
    assert!(asked.code == 2 && asked.stderr.contains("`ostler rebuild web1 --yes`"), "{}", asked.stderr);
    let refused = user.runs(&["rebuild", "web1", "--yes"]);
    assert!(refused.code == 2 && refused.stderr.contains("web1 is not made to its end"), "{}", refused.stderr);
    user.destroys();
    assert_eq!(cloud.holdings(), [].into());
    let failed = user.gets_to_ssh(&[UP, &["--on-failure", "destroy"]].concat());
    assert!(failed.stderr.contains("What was made of web1 has been destroyed"), "{}", failed.stderr);
    assert_eq!((cloud.holdings(), user.servers()), ([].into(), 0));
}

#[test]
fn what_no_record_knows_is_found_with_its_price() {
    let cloud = cloud();
    let user = User::with(&cloud, "type: cx23, location: fsn1, volumes: [ data ]");
    user.gets_to_ssh(UP);
    let orphans = |user: &User| user.runs(&["orphans", "ostler.yaml"]).ok().stdout;
    assert_eq!(orphans(&user), "no orphans: this machine, hc\n");
    // Another state sees it as another's.
    let other = User::with(&cloud, "type: cx23, location: fsn1");
    let list = orphans(&other);
    let row = list.lines().find(|line| line.starts_with("server ")).expect("the server");
    assert!(
        row.contains("web1 at Hetzner (cx23 in fsn1) ") && row.contains(" 4.15 EUR ") && row.ends_with("another state"),
        "{list}"
    );
    user.destroys();
    let list = orphans(&user);
    assert!(list.contains("data at Hetzner") && list.contains("0.52 EUR") && list.contains("this state"), "{list}");
}

#[test]
fn what_a_project_can_choose_from_is_shown_with_prices_and_endings() {
    let cloud = cloud();
    let user = User::of(&cloud);
    let token = File::open(user.environment.path().join("token")).expect("a token");
    let set = user.environment.command(&["secret", "set", "hetzner"]).stdin(token).status();
    assert!(set.is_ok_and(|status| status.success()), "the token is kept");
    let url = cloud.url();
    let shows = |what: &str| user.runs(&["hetzner", what, "--endpoint", &url]).ok().stdout;
    let types = shows("types");
    let rows: Vec<&str> = types.lines().collect();
    assert!(rows[1].starts_with("cx23   x86 shared") && rows[1].contains("4.15 EUR"), "{types}");
    assert!(types.contains("until 2099-12-31"), "{types}");
    assert!(
        rows.last().is_some_and(|row| row.starts_with("cx22") && row.ends_with("gone since 2026-02-01")),
        "{types}"
    );
    assert!(shows("locations").contains("fsn1      Falkenstein, DE"), "{}", shows("locations"));
    assert!(shows("images").contains("debian-13     x86 arm"), "{}", shows("images"));
    let refused = user.runs(&["hetzner", "types", "--endpoint", "http://example.org/v1"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}

#[test]
fn a_load_balancer_is_planned_with_its_price_and_not_made_before_a_server_is_proved() {
    let cloud = cloud();
    let user = User::of(&cloud);
    let writes = |services: &str| {
        let endpoint = cloud.url();
        let hc = format!(
            "kind: hetzner, token: {{ file: token }}, endpoint: \"{endpoint}\", load_balancers: {{ front: {{ location: fsn1, network: inner, \
             services: [ {services} ] }} }}"
        );
        let hetzner = "type: cx23, location: fsn1, network: inner, ipv4: false, load_balancer: front";
        user.environment.write(
            "ostler.yaml",
            &format!(
                "providers: {{ hc: {{ {hc} }} }}\nservers:\n  web1: {{ provider: hc, hetzner: {{ {hetzner} }}, \
                 authorized_keys: [ id_ed25519.pub ] }}\n"
            ),
        );
    };
    writes("{ listen: 443 }, { listen: 443 }");
    let refused = user.runs(&["plan", "ostler.yaml"]);
    assert!(refused.stderr.contains("services[1].listen: port 443 is listened on already"), "{}", refused.stderr);
    writes("{ listen: 443 }");
    let plan = user.runs(&["plan", "ostler.yaml"]).ok().stdout;
    let price = "for cx23 in fsn1, and 6.41 EUR a month (5.39 without VAT) for the load balancer front, which its servers share\n";
    assert!(plan.contains(price), "{plan}");
    user.gets_to_ssh(UP);
    assert!(!cloud.holdings().contains_key("load_balancers"), "{:?}", cloud.holdings());
    user.destroys();
    assert_eq!(cloud.holdings(), [].into());
}
