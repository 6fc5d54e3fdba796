//! Events of operations that ended long ago are forgotten, so that the state does not grow for ever. The journal itself stays.

use crate::Service;
use ostler_core::{Result, ports::Store};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How often it is done.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// Events that are forgotten in one transaction: whoever works meanwhile waits for one at most.
const AT_ONCE: u32 = 200;
/// Time between two such transactions, which is left to those who work.
const PAUSE: Duration = Duration::from_millis(20);

impl Service {
    /// Forgets the events of operations that ended longer than `keep` ago, but never those of the newest operation of each kind of a
    /// server that is there. Returns how many events were forgotten.
    pub async fn retain(&self, keep: Duration) -> Result<u64> {
        forget(&*self.0.world.store, keep).await
    }

    /// Does it in the background, where it was not done for a day. It is given up where the store fails, or this process ends, and the next
    /// one goes on.
    pub(crate) fn forget_if_due(&self) {
        let Some(keep) = self.0.keep_events else { return };
        if self.0.forgetting.swap(true, Ordering::Relaxed) {
            return;
        }
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _ = forget_unless_done(&*inner.world.store, keep).await;
            inner.forgetting.store(false, Ordering::Relaxed);
        });
    }
}

async fn forget_unless_done(store: &dyn Store, keep: Duration) -> Result<()> {
    let now = jiff::Timestamp::now();
    if store.last_forgetting().await?.is_some_and(|last| last <= now && now.duration_since(last) < signed(EVERY)) {
        return Ok(());
    }
    forget(store, keep).await?;
    store.set_last_forgetting(now).await
}

async fn forget(store: &dyn Store, keep: Duration) -> Result<u64> {
    let Ok(before) = jiff::Timestamp::now().checked_sub(signed(keep)) else { return Ok(0) };
    let mut forgotten = 0;
    for operation in store.operations_to_forget(before).await? {
        loop {
            let count = store.forget_events(operation, AT_ONCE).await?;
            forgotten += u64::from(count);
            tokio::time::sleep(PAUSE).await;
            if count < AT_ONCE {
                break;
            }
        }
    }
    Ok(forgotten)
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}
