//! Shows what is in the event log while work goes on: the only way in which a frontend learns anything.

use crate::{log_file::LogFile, output::Frontend};
use ostler_core::{Result, event::Event, ids::ServerName, operation::Subscription};
use std::{collections::BTreeSet, convert::Infallible, future::Future, time::Duration};

/// Time until events that can't be read are asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// Shows a frontend what happens.
pub struct Follower<'a> {
    events: Subscription,
    /// Of these servers only; what another Ostler does to others is its own affair.
    servers: Option<BTreeSet<ServerName>>,
    frontend: &'a mut dyn Frontend,
    log_file: Option<&'a LogFile>,
    /// It was said that events can't be read.
    failed: bool,
}

impl<'a> Follower<'a> {
    /// For all events of the subscription.
    pub fn new(events: Subscription, frontend: &'a mut dyn Frontend, log_file: Option<&'a LogFile>) -> Self {
        Self { events, servers: None, frontend, log_file, failed: false }
    }

    /// The same for those of these servers.
    pub fn of(
        servers: &[ServerName],
        events: Subscription,
        frontend: &'a mut dyn Frontend,
        log_file: Option<&'a LogFile>,
    ) -> Self {
        Self { servers: Some(servers.iter().cloned().collect()), ..Self::new(events, frontend, log_file) }
    }

    /// Shows events as they come, for ever. May be dropped at any time, and gone on with.
    pub async fn follow(&mut self) -> Infallible {
        loop {
            match self.events.next().await {
                Ok(events) => self.show(&events),
                Err(failure) => {
                    // That something can't be shown is no reason to give up the work.
                    if !std::mem::replace(&mut self.failed, true) {
                        self.frontend.warning(&format!("events can't be read now and will be shown later: {failure}"));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Shows all that happened until now.
    pub async fn catch_up(&mut self) {
        while let Ok(events) = self.events.rest().await
            && !events.is_empty()
        {
            self.show(&events);
        }
    }

    /// No more of this server, on which somebody else may be at work now.
    pub fn leave(&mut self, server: &ServerName) {
        if let Some(servers) = &mut self.servers {
            servers.remove(server);
        }
    }

    /// What else the frontend is to be told.
    pub fn frontend(&mut self) -> &mut dyn Frontend {
        self.frontend
    }

    fn show(&mut self, events: &[Event]) {
        let wanted = |event: &&Event| match (&self.servers, &event.server) {
            (Some(servers), Some(server)) => servers.contains(server),
            (Some(_), None) => false,
            (None, _) => true,
        };
        let events: Vec<&Event> = events.iter().filter(wanted).collect();
        if let Some(file) = self.log_file
            && let Err(error) = file.append(&events)
        {
            self.frontend.warning(&format!("the log file can't be written: {error}"));
        }
        events.into_iter().for_each(|event| self.frontend.event(event));
    }
}

/// Does `work` and shows the events that it causes; all of them are shown when this returns.
pub async fn while_working<T>(
    events: Subscription,
    frontend: &mut dyn Frontend,
    log_file: Option<&LogFile>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut follower = Follower::new(events, frontend, log_file);
    let result = tokio::select! {
        biased;
        never = follower.follow() => match never {},
        result = work => result,
    };
    follower.catch_up().await;
    result
}
