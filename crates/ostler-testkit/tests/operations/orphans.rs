//! What bears Ostler's mark and no record knows.

use crate::{
    bench::{Verb, finished, on_proxmox, process, this_owner, web},
    cases::{at, block_on},
};
use ostler_core::{
    ids::{OperationId, StateId},
    server::orphans::{Maker, Search, search},
};
use ostler_testkit::world::{Effect, Fault, Machine, Moment};

#[test]
fn it_is_found_with_whose_it_is_and_a_place_that_does_not_answer_hides_no_other() {
    let bench = finished();
    block_on(async {
        let look = async |fault: Option<Fault>| -> Search {
            let process = process(bench.path(), this_owner(&Verb::Resume), fault).await;
            let found = search(&process.world, vec![on_proxmox().provider]).await.unwrap();
            process.store.store.clone().close().await;
            found
        };
        let here = ["this machine", "pve (node pve1)"];
        let found = look(None).await;
        assert_eq!(
            (found.orphans.as_slice(), found.searched.as_slice(), found.failures.len()),
            (&[][..], &here.map(str::to_owned)[..], 0)
        );

        let web = bench.world().machine(web().name.as_str()).expect("it is made");
        let others = [("lost", web.owner), ("theirs", StateId::new())];
        for (name, owner) in others {
            let operation = OperationId::new();
            bench.world().put_machine(&Machine { name: name.into(), operation, owner, ..web.clone() });
        }
        let whose = |found: &Search| -> Vec<(String, Maker)> {
            found.orphans.iter().map(|orphan| (orphan.what.clone(), orphan.of)).collect()
        };
        let expected =
            [("machine lost".to_owned(), Maker::ThisState), ("machine theirs".to_owned(), Maker::AnotherState)];
        assert_eq!(whose(&look(None).await), expected, "each once");

        let found = look(Some(at("provider.marked", Moment::Before, Effect::Fail))).await;
        assert_eq!(
            (whose(&found), found.searched.as_slice()),
            (expected.to_vec(), &["pve (node pve1)".to_owned()][..])
        );
        let [failure] = found.failures.as_slice() else { panic!("{:?}", found.failures) };
        assert_eq!(failure.message, "this machine can't be searched");
    });
}
