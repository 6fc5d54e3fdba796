//! Which runs of Ansible there are at a time.

use ostler_testkit::environment::TestEnvironment;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Watches for two runs of Ansible at the same time, by the mark that all their processes carry.
pub struct RunWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<BTreeSet<String>>>,
}

impl RunWatch {
    /// Begins.
    pub fn start(environment: &TestEnvironment) -> Self {
        let state = environment.state_dir();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                seen.insert(runs(&state));
                std::thread::sleep(Duration::from_millis(100));
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends; returns the largest number of runs that were seen at one time.
    pub fn most_at_once(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic").iter().map(BTreeSet::len).max().unwrap_or(0)
    }
}

/// Ids of the runs of this state that have processes now. Its folder stands in their environment, as that of the run.
pub fn runs(state: &Path) -> BTreeSet<String> {
    let state = state.as_os_str().as_encoded_bytes();
    let mut runs = BTreeSet::new();
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let environ = fs::read(process.path().join("environ")).unwrap_or_default();
        if !environ.windows(state.len()).any(|window| window == state) {
            continue;
        }
        for variable in environ.split(|byte| *byte == 0) {
            if let Some(run) = variable.strip_prefix(b"OSTLER_RUN_ID=") {
                runs.insert(String::from_utf8_lossy(run).into_owned());
            }
        }
    }
    runs
}
