//! Two servers of one spec: one lives undisturbed, and Ostler is killed all the time while it makes the other. They end up the same.

use super::{
    calm, disturbed,
    support::{LITTLE, environment, spec},
};
use std::thread;

#[test]
#[ignore = "boots real virtual machines; `cargo xtask test` runs it"]
fn two_lives_with_one_end() {
    let [calm, disturbed] = [(); 2].map(|()| {
        let environment = environment();
        environment.write("ostler.yaml", &spec("memory: 1GiB, disk: 6GiB", LITTLE));
        environment
    });
    let (undisturbed, disturbed) = thread::scope(|scope| {
        let calm = scope.spawn(|| calm::live(&calm));
        let disturbed = disturbed::live(&disturbed);
        (calm.join().expect("the undisturbed life went well"), disturbed)
    });
    let differs: Vec<_> = undisturbed.lines().zip(disturbed.lines()).filter(|(calm, other)| calm != other).collect();
    assert_eq!(differs, [], "the end is the same as of an undisturbed life");
    assert_eq!(undisturbed.lines().count(), disturbed.lines().count());
}
