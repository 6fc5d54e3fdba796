//! Child processes that must not outlive their Ostler unnoticed.

use crate::{
    codec::{Row, word},
    database::retry,
    entities::child,
    error::Fault,
    subjects,
};
use ostler_core::{ports::ChildRecord, subject::Subject};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder,
    sea_query::OnConflict,
};

pub async fn put(db: &DatabaseConnection, record: &ChildRecord) -> Result<(), Fault> {
    retry(|| async move {
        let row = child::ActiveModel {
            subject_id: Set(record.subject.id.to_string()),
            subject_kind: Set(word(&record.subject.kind)),
            boot: Set(record.boot.clone()),
            pid: Set(record.pid.into()),
            start_ticks: Set(record.start_ticks.cast_signed()),
            run: Set(record.run.to_string()),
        };
        let key = [child::Column::SubjectId, child::Column::Boot, child::Column::Pid, child::Column::StartTicks];
        let replace = OnConflict::columns(key).update_column(child::Column::Run).to_owned();
        Ok(child::Entity::insert(row).on_conflict(replace).exec_without_returning(db).await.map(drop)?)
    })
    .await
}

pub async fn of(db: &DatabaseConnection, subject: Subject) -> Result<Vec<ChildRecord>, Fault> {
    child::Entity::find()
        .filter(child::Column::SubjectId.eq(subject.id.to_string()))
        .order_by_asc(child::Column::StartTicks)
        .order_by_asc(child::Column::Pid)
        .all(db)
        .await?
        .iter()
        .map(record)
        .collect()
}

pub async fn remove(db: &DatabaseConnection, record: &ChildRecord) -> Result<(), Fault> {
    retry(|| async move {
        let same = Condition::all()
            .add(child::Column::SubjectId.eq(record.subject.id.to_string()))
            .add(child::Column::Boot.eq(record.boot.as_str()))
            .add(child::Column::Pid.eq(i64::from(record.pid)))
            .add(child::Column::StartTicks.eq(record.start_ticks.cast_signed()));
        Ok(child::Entity::delete_many().filter(same).exec(db).await.map(drop)?)
    })
    .await
}

fn record(model: &child::Model) -> Result<ChildRecord, Fault> {
    let row = Row { noun: "child process of", key: &model.subject_id };
    Ok(ChildRecord {
        subject: subjects::subject_of(&model.subject_kind, &model.subject_id)?,
        run: row.parse(&model.run)?,
        pid: row.number(model.pid)?,
        start_ticks: model.start_ticks.cast_unsigned(),
        boot: model.boot.clone(),
    })
}
