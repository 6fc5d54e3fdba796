//! A load balancer sends traffic to a server only while it is what its spec says.

use crate::{
    bench::{Bench, Verb, balanced, empty, fenced, member, web, with_memory},
    cases::{at, block_on},
};
use ostler_core::spec::ServerSpec;
use ostler_testkit::world::{Effect, Moment};

fn up(spec: ServerSpec) -> Verb {
    Verb::Up(Box::new(spec))
}

/// What became of the server and its traffic, in order.
fn told(bench: &Bench) -> Vec<String> {
    let words = ["joined ", "left ", "stopped ", "removed ", "run "];
    bench.world().log().into_iter().filter(|line| words.iter().any(|word| line.starts_with(word))).collect()
}

#[test]
fn it_gets_traffic_once_it_is_proved_and_none_while_it_is_taken_down() {
    let bench = empty();
    block_on(async {
        let fault = at("engine.run", Moment::Middle, Effect::Fail);
        bench.run(&up(balanced(web())), Some(fault)).await.result.unwrap_err();
        assert!(!told(&bench).contains(&"joined web".to_owned()), "{:?}", told(&bench));
        for spec in [balanced(web()), with_memory(balanced(web()), 2), with_memory(fenced(web()), 2)] {
            bench.must(&up(spec)).await;
        }
        let last = [
            "run web",
            "joined web", // made to its end
            "left web",
            "stopped web",
            "run web",
            "joined web", // another size
            "run web",
            "left web", // the spec names none
        ];
        assert!(told(&bench).ends_with(&last.map(str::to_owned)), "{:?}", told(&bench));
        bench.must(&up(with_memory(balanced(web()), 2))).await;
        // What the vendor refuses keeps the server from being taken apart.
        let fault = at("provider.leave", Moment::Before, Effect::Fail);
        bench.run(&Verb::Destroy, Some(fault)).await.result.unwrap_err();
        assert!(bench.world().machine("web").is_some_and(|machine| machine.balanced));
        bench.must(&Verb::Destroy).await;
        assert!(told(&bench).ends_with(&["left web", "removed web"].map(str::to_owned)), "{:?}", told(&bench));
        bench.assert_log(1..=1);
        bench.assert_nothing_left().await;
    });
}

#[test]
fn a_member_that_goes_gets_no_more_traffic_before_what_runs_on_it_moves() {
    let bench = Bench::new();
    block_on(async {
        for name in ["db", "web"] {
            bench.run_on(name, &up(balanced(member(name, "db"))), None).await.result.unwrap();
        }
    });
    bench.world().put_cluster(&[("db", true), ("web", false)]);
    block_on(async {
        let fault = at("provider.leave", Moment::Before, Effect::Fail);
        bench.run(&Verb::Destroy, Some(fault)).await.result.unwrap_err();
        assert!(bench.world().cluster().iter().all(|member| !member.drained), "{:?}", bench.world().cluster());
        bench.must(&Verb::Destroy).await;
        assert_eq!(bench.world().cluster().len(), 1);
    });
}
