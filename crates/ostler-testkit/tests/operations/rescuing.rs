//! The SSH port of a server is opened again that its tunnel took the place of.

use crate::{
    bench::{Bench, Verb, finished, up, web, with_tunnel},
    cases::{after_each, block_on, cases, each},
};
use ostler_testkit::world::Effect;

fn up_with_tunnel() -> Verb {
    Verb::Up(Box::new(with_tunnel(web())))
}

/// A server that only its tunnel leads to.
fn closed() -> Bench {
    let bench = finished();
    block_on(bench.must(&up_with_tunnel()));
    assert!(!bench.world().machine("web").expect("it runs").ssh_is_open());
    bench
}

#[test]
fn disturbed_at_each_call_it_leaves_a_way_in_and_is_done_again() {
    let start = closed();
    let (before, opened) = block_on(async {
        let copy = start.copy();
        copy.must(&Verb::Rescue).await;
        assert!(copy.world().machine("web").expect("it runs").ssh_is_open());
        (start.snapshot().await, copy.snapshot().await)
    });
    let calls = block_on(start.copy().run(&Verb::Rescue, None)).calls;
    let faults = [Effect::Fail, Effect::Kill].into_iter().flat_map(|effect| after_each(&calls, effect)).collect();
    each(&cases(faults, &[Verb::Rescue, up_with_tunnel(), up()]), async |case| {
        let bench = start.copy();
        match case.fault.effect {
            Effect::Kill => bench.killed(&Verb::Rescue, &case.fault),
            _ => drop(bench.run(&Verb::Rescue, Some(case.fault.clone())).await),
        }
        bench.must(&case.then).await;
        match &case.then {
            Verb::Rescue => assert_eq!(bench.snapshot().await, opened),
            Verb::Up(spec) if spec.tunnel.is_some() => assert_eq!(bench.snapshot().await, before),
            _ => assert!(bench.world().names("tunnels").is_empty(), "the tunnel is left"),
        }
    });
}

#[test]
fn where_nothing_leads_there_it_says_what_to_type_and_finds_the_port_that_was_opened() {
    let bench = closed();
    bench.world().change_guest("web", |guest| guest.connector = false);
    block_on(async {
        let before = bench.snapshot().await;
        let failure = bench.run(&Verb::Rescue, None).await.result.unwrap_err();
        assert!(failure.message.starts_with("nothing leads to web"), "{failure:?}");
        let typed = failure.lines.iter().find(|line| line.contains("ufw allow 22/tcp"));
        assert!(typed.is_some_and(|line| line.contains("ip6tables -F")), "{failure:?}");
        assert_eq!(bench.snapshot().await, before, "nothing has changed");
        bench.world().change_guest("web", |guest| guest.config["ostler_ssh_open"] = true.into());
        bench.must(&Verb::Rescue).await;
        // The tunnel is mended, and takes the place of the port again.
        bench.must(&up_with_tunnel()).await;
        let machine = bench.world().machine("web").expect("it runs");
        assert!(machine.is_connected() && !machine.ssh_is_open());
    });
}
