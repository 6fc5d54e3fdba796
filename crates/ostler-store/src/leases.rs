//! Leases: one operation at a time per subject.
//!
//! A lease is its token's: of one acquisition. The owner (machine, boot, process id and start time) tells others whom they wait
//! for and whether that one lives; host and doing are for people. Expiry goes by the database's clock on MySQL and by the
//! machine's on SQLite; see [`database::shared_clock`].

use crate::{
    codec::{Row, word},
    database::{self, begin, retry},
    entities::lease,
    error::Fault,
    subjects,
};
use ostler_core::{
    ids::LeaseToken,
    ports::{Lease, LeaseAnswer, LeaseOwner},
    subject::Subject,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, Iterable, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict},
};
use std::time::Duration;

pub async fn acquire(
    db: &DatabaseConnection,
    subject: Subject,
    token: LeaseToken,
    owner: &LeaseOwner,
    ttl: Duration,
    instead: Option<&Lease>,
) -> Result<LeaseAnswer, Fault> {
    retry(|| async move {
        let txn = begin(db).await?;
        // Inserting first, where there is none, gives MySQL a row to lock: two who find nothing would both insert.
        let mut wanted = row(subject, token, owner, database::shared_clock(&txn).await?, ttl);
        let mine_if_free =
            OnConflict::column(lease::Column::SubjectId).do_nothing_on([lease::Column::SubjectId]).to_owned();
        lease::Entity::insert(wanted.clone()).on_conflict(mine_if_free).exec_without_returning(&txn).await?;
        let held = lease::Entity::find_by_id(subject.id.to_string()).lock_exclusive().one(&txn).await?;
        let held =
            held.ok_or_else(|| DbErr::RecordNotFound(format!("the lease on {subject} vanished while it was locked")))?;
        let now = database::shared_clock(&txn).await?;
        let holder = record(&held, now)?;
        if holder.token != Some(token) && instead != Some(&holder) {
            txn.rollback().await?;
            return Ok(LeaseAnswer::HeldBy(holder));
        }
        wanted.expires = Set(expiry(now, ttl));
        let others = lease::Column::iter().filter(|column| !matches!(column, lease::Column::SubjectId));
        let replace = OnConflict::column(lease::Column::SubjectId).update_columns(others).to_owned();
        lease::Entity::insert(wanted).on_conflict(replace).exec_without_returning(&txn).await?;
        txn.commit().await?;
        Ok(LeaseAnswer::Granted)
    })
    .await
}

/// An expired lease that nobody took is still its holder's.
pub async fn renew(db: &DatabaseConnection, subject: Subject, token: LeaseToken, ttl: Duration) -> Result<bool, Fault> {
    retry(|| async move {
        let expires = expiry(database::shared_clock(db).await?, ttl);
        let update = lease::Entity::update_many()
            .col_expr(lease::Column::Expires, Expr::value(expires))
            .filter(held_by(subject, token));
        Ok(update.exec(db).await?.rows_affected > 0)
    })
    .await
}

pub async fn release(db: &DatabaseConnection, subject: Subject, token: LeaseToken) -> Result<(), Fault> {
    retry(|| async move {
        let txn = begin(db).await?;
        if lease::Entity::delete_many().filter(held_by(subject, token)).exec(&txn).await?.rows_affected > 0 {
            subjects::forget_unused(&txn, subject).await?;
        }
        Ok(txn.commit().await?)
    })
    .await
}

pub async fn get(db: &DatabaseConnection, subject: Subject) -> Result<Option<Lease>, Fault> {
    let Some(held) = lease::Entity::find_by_id(subject.id.to_string()).one(db).await? else { return Ok(None) };
    record(&held, database::shared_clock(db).await?).map(Some)
}

fn row(subject: Subject, token: LeaseToken, owner: &LeaseOwner, now: i64, ttl: Duration) -> lease::ActiveModel {
    lease::ActiveModel {
        subject_id: Set(subject.id.to_string()),
        subject_kind: Set(word(&subject.kind)),
        token: Set(Some(token.to_string())),
        host: Set(owner.host.clone()),
        machine: Set(owner.machine.clone()),
        boot: Set(owner.boot.clone()),
        pid: Set(owner.pid.into()),
        start_ticks: Set(owner.start_ticks.cast_signed()),
        doing: Set(owner.doing.clone()),
        expires: Set(expiry(now, ttl)),
    }
}

fn expiry(now: i64, ttl: Duration) -> i64 {
    now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

fn held_by(subject: Subject, token: LeaseToken) -> Condition {
    Condition::all()
        .add(lease::Column::SubjectId.eq(subject.id.to_string()))
        .add(lease::Column::Token.eq(token.to_string()))
}

fn record(model: &lease::Model, now: i64) -> Result<Lease, Fault> {
    let row = Row { noun: "lease on", key: &model.subject_id };
    let owner = LeaseOwner {
        host: model.host.clone(),
        boot: model.boot.clone(),
        machine: model.machine.clone(),
        pid: row.number(model.pid)?,
        start_ticks: model.start_ticks.cast_unsigned(),
        doing: model.doing.clone(),
    };
    let token = model.token.as_deref().map(|token| row.parse(token)).transpose()?;
    Ok(Lease { owner, token, expired: model.expires <= now })
}
