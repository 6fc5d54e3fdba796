//! Servers.

use crate::{
    codec::{Row, json, word},
    database::{begin, retry},
    entities::{child, secret, server},
    error::Fault,
    subjects,
};
use ostler_core::{
    ids::ServerName,
    model::{MachineRecord, ServerRecord},
    subject::{Subject, SubjectKind},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, Iterable, QueryFilter, sea_query::OnConflict,
};

pub async fn get(db: &DatabaseConnection, name: &ServerName) -> Result<Option<ServerRecord>, Fault> {
    let Some(subject) = subjects::get(db, SubjectKind::Server, name.as_str()).await? else { return Ok(None) };
    let row = server::Entity::find_by_id(subject.id.to_string()).one(db).await?;
    row.map(|row| record(name, &row)).transpose()
}

pub async fn put(db: &DatabaseConnection, record: &ServerRecord) -> Result<(), Fault> {
    let row = server::ActiveModel {
        id: Set(record.id.to_string()),
        provider: Set(word(&record.provider)),
        phase: Set(word(&record.phase)),
        login_user: Set(record.login_user.clone()),
        created_by: Set(record.created_by.to_string()),
        desired: Set(json(&record.desired)),
        machine: Set(record.machine.as_ref().map(|machine| machine.0.clone())),
        machine_next: Set(record.machine_next.as_ref().map(|machine| machine.0.clone())),
        host_keys: Set(json(&record.host_keys)),
        client_key: Set(record.client_key.clone()),
        pending_handlers: Set(json(&record.pending_handlers)),
        unclean: Set(record.unclean),
        verified: Set(record.verified.as_ref().map(json)),
    };
    let row = &row;
    retry(|| async move {
        let txn = begin(db).await?;
        subjects::ensure(&txn, record.subject(), record.name.as_str()).await?;
        let others = server::Column::iter().filter(|column| !matches!(column, server::Column::Id));
        let replace = OnConflict::column(server::Column::Id).update_columns(others).to_owned();
        server::Entity::insert(row.clone()).on_conflict(replace).exec_without_returning(&txn).await?;
        Ok(txn.commit().await?)
    })
    .await
}

/// The lease stays, and with it the name: whoever removes the server holds it, and gives both back.
pub async fn remove(db: &DatabaseConnection, server: Subject) -> Result<(), Fault> {
    let id = &server.id.to_string();
    retry(|| async move {
        let txn = begin(db).await?;
        child::Entity::delete_many().filter(child::Column::SubjectId.eq(id)).exec(&txn).await?;
        secret::Entity::delete_many().filter(secret::Column::OwnerId.eq(id)).exec(&txn).await?;
        server::Entity::delete_by_id(id).exec(&txn).await?;
        Ok(txn.commit().await?)
    })
    .await
}

fn record(name: &ServerName, model: &server::Model) -> Result<ServerRecord, Fault> {
    let row = Row { noun: "server", key: name };
    Ok(ServerRecord {
        id: row.parse(&model.id)?,
        name: name.clone(),
        provider: row.word(&model.provider)?,
        phase: row.word(&model.phase)?,
        created_by: row.parse(&model.created_by)?,
        desired: row.json(&model.desired)?,
        login_user: model.login_user.clone(),
        machine: model.machine.clone().map(MachineRecord),
        machine_next: model.machine_next.clone().map(MachineRecord),
        host_keys: row.json(&model.host_keys)?,
        client_key: model.client_key.clone(),
        pending_handlers: row.json(&model.pending_handlers)?,
        unclean: model.unclean,
        verified: model.verified.as_deref().map(|text| row.json(text)).transpose()?,
    })
}
