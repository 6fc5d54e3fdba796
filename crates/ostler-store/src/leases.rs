//! Leases: one operation at a time per server.
//!
//! An owner is a process: machine, boot, process id and start time. Host and doing are for people. Expiry goes by the
//! database's clock on MySQL and by the machine's on SQLite; see [`database::shared_clock`].

use crate::{
    codec::Row,
    database::{self, begin, retry},
    entities::lease,
    error::Fault,
};
use ostler_core::{
    ids::ServerName,
    ports::{LeaseAnswer, LeaseOwner},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, Iterable, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict},
};
use std::time::Duration;

pub async fn acquire(
    db: &DatabaseConnection,
    server: &ServerName,
    owner: &LeaseOwner,
    ttl: Duration,
    is_dead: &(dyn Fn(&LeaseOwner) -> bool + Send + Sync),
) -> Result<LeaseAnswer, Fault> {
    retry(|| async move {
        let txn = begin(db).await?;
        // Inserting first, where there is none, gives MySQL a row to lock: two who find nothing would both insert.
        let mut wanted = row(server, owner, database::shared_clock(&txn).await?, ttl);
        let mine_if_free = OnConflict::column(lease::Column::Server).do_nothing_on([lease::Column::Server]).to_owned();
        lease::Entity::insert(wanted.clone()).on_conflict(mine_if_free).exec_without_returning(&txn).await?;
        let held = lease::Entity::find_by_id(server.as_str()).lock_exclusive().one(&txn).await?;
        let held =
            held.ok_or_else(|| DbErr::RecordNotFound(format!("the lease on {server} vanished while it was locked")))?;
        let holder = record(&held)?;
        let now = database::shared_clock(&txn).await?;
        if held.expires > now && !same_process(&holder, owner) && !is_dead(&holder) {
            txn.rollback().await?;
            return Ok(LeaseAnswer::HeldBy(holder));
        }
        wanted.expires = Set(expiry(now, ttl));
        let others = lease::Column::iter().filter(|column| !matches!(column, lease::Column::Server));
        let replace = OnConflict::column(lease::Column::Server).update_columns(others).to_owned();
        lease::Entity::insert(wanted).on_conflict(replace).exec_without_returning(&txn).await?;
        txn.commit().await?;
        Ok(LeaseAnswer::Granted)
    })
    .await
}

/// An expired lease that nobody took is still its owner's.
pub async fn renew(
    db: &DatabaseConnection,
    server: &ServerName,
    owner: &LeaseOwner,
    ttl: Duration,
) -> Result<bool, Fault> {
    retry(|| async move {
        let expires = expiry(database::shared_clock(db).await?, ttl);
        let update = lease::Entity::update_many()
            .col_expr(lease::Column::Expires, Expr::value(expires))
            .filter(held_by(server, owner));
        Ok(update.exec(db).await?.rows_affected > 0)
    })
    .await
}

pub async fn release(db: &DatabaseConnection, server: &ServerName, owner: &LeaseOwner) -> Result<(), Fault> {
    retry(|| async move { Ok(lease::Entity::delete_many().filter(held_by(server, owner)).exec(db).await.map(drop)?) })
        .await
}

pub async fn get(db: &DatabaseConnection, server: &ServerName) -> Result<Option<LeaseOwner>, Fault> {
    lease::Entity::find_by_id(server.as_str()).one(db).await?.as_ref().map(record).transpose()
}

fn row(server: &ServerName, owner: &LeaseOwner, now: i64, ttl: Duration) -> lease::ActiveModel {
    lease::ActiveModel {
        server: Set(server.to_string()),
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

fn held_by(server: &ServerName, owner: &LeaseOwner) -> Condition {
    Condition::all()
        .add(lease::Column::Server.eq(server.as_str()))
        .add(lease::Column::Machine.eq(owner.machine.as_str()))
        .add(lease::Column::Boot.eq(owner.boot.as_str()))
        .add(lease::Column::Pid.eq(i64::from(owner.pid)))
        .add(lease::Column::StartTicks.eq(owner.start_ticks.cast_signed()))
}

fn same_process(one: &LeaseOwner, other: &LeaseOwner) -> bool {
    let process = |owner: &LeaseOwner| (owner.machine.clone(), owner.boot.clone(), owner.pid, owner.start_ticks);
    process(one) == process(other)
}

fn record(model: &lease::Model) -> Result<LeaseOwner, Fault> {
    let row = Row { noun: "lease on", key: &model.server };
    Ok(LeaseOwner {
        host: model.host.clone(),
        boot: model.boot.clone(),
        machine: model.machine.clone(),
        pid: row.number(model.pid)?,
        start_ticks: model.start_ticks.cast_unsigned(),
        doing: model.doing.clone(),
    })
}
