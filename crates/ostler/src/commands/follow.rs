//! Shows what is in the event log while work goes on: the only way in which a frontend learns anything.

use crate::{log_file::LogFile, output::Frontend};
use ostler_core::{
    Result,
    event::Event,
    ids::{EventNumber, ServerName},
    operation::EventLog,
    ports::EventFilter,
};
use std::{collections::BTreeSet, convert::Infallible, future::Future, time::Duration};

/// How long to wait for an event of this process before looking again.
const PATIENCE: Duration = Duration::from_millis(500);

/// Shows a frontend what happens.
pub struct Follower<'a> {
    log: &'a EventLog,
    filter: EventFilter,
    /// Of these servers only; what another Ostler does to others is its own affair.
    servers: Option<BTreeSet<ServerName>>,
    after: EventNumber,
    frontend: &'a mut dyn Frontend,
    log_file: Option<&'a LogFile>,
    /// It was said that events can't be read.
    failed: bool,
}

impl<'a> Follower<'a> {
    /// For the events after `after`.
    pub fn new(
        log: &'a EventLog,
        filter: EventFilter,
        after: EventNumber,
        frontend: &'a mut dyn Frontend,
        log_file: Option<&'a LogFile>,
    ) -> Self {
        Self { log, filter, servers: None, after, frontend, log_file, failed: false }
    }

    /// The same for the events of these servers.
    pub fn of(
        log: &'a EventLog,
        servers: &[ServerName],
        after: EventNumber,
        frontend: &'a mut dyn Frontend,
        log_file: Option<&'a LogFile>,
    ) -> Self {
        let only = if let [only] = servers { Some(only.clone()) } else { None };
        let filter = EventFilter { server: only, ..EventFilter::default() };
        Self { servers: Some(servers.iter().cloned().collect()), ..Self::new(log, filter, after, frontend, log_file) }
    }

    /// Shows events as they come, for ever. May be dropped at any time, and gone on with.
    pub async fn follow(&mut self) -> Infallible {
        loop {
            match self.log.next(self.after, &self.filter, PATIENCE).await {
                Ok(events) => self.show(&events),
                Err(failure) => {
                    // That something can't be shown is no reason to give up the work.
                    if !std::mem::replace(&mut self.failed, true) {
                        self.frontend.warning(&format!("events can't be read, and are shown later: {failure}"));
                    }
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }

    /// Shows all that happened until now.
    pub async fn catch_up(&mut self) {
        while let Ok(events) = self.log.next(self.after, &self.filter, Duration::ZERO).await
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
        self.after = events.last().map_or(self.after, |event| event.number);
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

/// Does `work` and shows the events after `after` that it causes; all of them are shown when this returns.
pub async fn while_working<T>(
    log: &EventLog,
    filter: &EventFilter,
    after: EventNumber,
    frontend: &mut dyn Frontend,
    log_file: Option<&LogFile>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut follower = Follower::new(log, filter.clone(), after, frontend, log_file);
    let result = tokio::select! {
        biased;
        never = follower.follow() => match never {},
        result = work => result,
    };
    follower.catch_up().await;
    result
}
