//! The log of events.
//!
//! A reader that follows the log asks for events newer than the last number that it saw. So a number must never be committed
//! after a greater one. MySQL does not promise that for an auto-increment column. Instead, the row of `state` holds the last
//! number, and a writer locks that row until it commits. This also leaves no gaps.
//!
//! An event has an id before it has a number. Whoever can't tell whether it was stored (a connection broke, a future was
//! dropped) stores it again, and it is in the log once.

use crate::{
    codec::{Row, json, word},
    database::{begin, now, retry},
    entities::{event, state},
    error::Fault,
    subjects,
};
use ostler_core::{
    event::{Event, NewEvent},
    ids::EventNumber,
    ports::EventFilter,
    subject::{Subject, SubjectKind},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use std::collections::HashSet;

/// Rows of one INSERT: nine values each, and SQLite takes 32,766 values (https://sqlite.org/limits.html).
const ROWS: usize = 1000;

/// Returns those that were not in the log already, as all functions here do.
pub async fn append(db: &DatabaseConnection, events: &[NewEvent]) -> Result<Vec<Event>, Fault> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    retry(|| async move {
        let txn = begin(db).await?;
        let appended = append_in(&txn, events).await?;
        txn.commit().await?;
        Ok(appended)
    })
    .await
}

/// The same within a transaction that writes.
pub async fn append_in(txn: &DatabaseTransaction, events: &[NewEvent]) -> Result<Vec<Event>, Fault> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut number = last_for_update(txn).await?;
    let (time, mut appended) = (now(), Vec::new());
    for events in events.chunks(ROWS) {
        let known: HashSet<String> = event::Entity::find()
            .select_only()
            .column(event::Column::Id)
            .filter(event::Column::Id.is_in(events.iter().map(|event| event.id.to_string())))
            .into_tuple()
            .all(txn)
            .await?
            .into_iter()
            .collect();
        let new = events.iter().filter(|event| !known.contains(&event.id.to_string()));
        let rows: Vec<_> = new
            .map(|event| {
                number += 1;
                let row = row(number, time, event);
                appended.push((number, event));
                row
            })
            .collect();
        if !rows.is_empty() {
            event::Entity::insert_many(rows).exec_without_returning(txn).await?;
        }
    }
    state::Entity::update_many()
        .col_expr(state::Column::LastEvent, Expr::value(number))
        .filter(state::Column::Id.eq(state::ROW))
        .exec(txn)
        .await?;
    let time = Row { noun: "event", key: &number }.time(time)?;
    Ok(appended.into_iter().map(|(number, event)| numbered(number, time, event)).collect())
}

fn numbered(number: i64, time: jiff::Timestamp, event: &NewEvent) -> Event {
    Event::placed(EventNumber(number), time, event.clone())
}

pub async fn after(
    db: &DatabaseConnection,
    after: EventNumber,
    filter: &EventFilter,
    limit: u32,
) -> Result<Vec<Event>, Fault> {
    let mut query = event::Entity::find().filter(event::Column::Number.gt(after.0));
    if let Some(subject) = &filter.subject {
        query = query.filter(event::Column::SubjectId.eq(subject.id.to_string()));
    }
    if let Some(server) = &filter.server {
        query = query
            .filter(event::Column::Name.eq(server.as_str()))
            .filter(event::Column::SubjectKind.eq(word(&SubjectKind::Server)));
    }
    if let Some(operation) = &filter.operation {
        query = query.filter(event::Column::Operation.eq(operation.to_string()));
    }
    query.order_by_asc(event::Column::Number).limit(u64::from(limit)).all(db).await?.into_iter().map(record).collect()
}

pub async fn last(db: &impl ConnectionTrait) -> Result<EventNumber, DbErr> {
    let number: Option<i64> = last_number().into_tuple().one(db).await?;
    Ok(EventNumber(number.unwrap_or_default()))
}

async fn last_for_update(txn: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let number: Option<i64> = last_number().lock_exclusive().into_tuple().one(txn).await?;
    number.ok_or_else(|| DbErr::RecordNotFound("the row of the table `state` is gone".into()))
}

fn last_number() -> sea_orm::Select<state::Entity> {
    state::Entity::find_by_id(state::ROW).select_only().column(state::Column::LastEvent)
}

fn row(number: i64, time: i64, event: &NewEvent) -> event::ActiveModel {
    let body = serde_json::to_value(&event.kind).expect("events are plain data");
    event::ActiveModel {
        number: Set(number),
        id: Set(Some(event.id.to_string())),
        time: Set(time),
        subject_kind: Set(event.subject.map(|subject| word(&subject.kind))),
        subject_id: Set(event.subject.map(|subject| subject.id.to_string())),
        name: Set(event.server.as_ref().map(ToString::to_string).or_else(|| event.name.clone())),
        operation: Set(event.operation.as_ref().map(ToString::to_string)),
        kind: Set(body["event"].as_str().unwrap_or_default().to_owned()),
        body: Set(json(&body)),
    }
}

fn record(model: event::Model) -> Result<Event, Fault> {
    let row = Row { noun: "event", key: &model.number };
    let subject = match (&model.subject_kind, &model.subject_id) {
        (Some(kind), Some(id)) => Some(subjects::subject_of(kind, id)?),
        _ => None,
    };
    let is_server = subject.is_some_and(|Subject { kind, .. }| kind == SubjectKind::Server);
    Ok(Event {
        number: EventNumber(model.number),
        time: row.time(model.time)?,
        subject,
        server: model.name.as_deref().filter(|_| is_server).map(|name| row.word(name)).transpose()?,
        name: model.name.filter(|_| !is_server),
        operation: model.operation.as_deref().map(|id| row.parse(id)).transpose()?,
        kind: row.json(&model.body)?,
    })
}
