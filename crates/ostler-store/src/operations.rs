//! Operations. The newest one of each subject is marked as such when it begins.

use crate::{
    codec::{Row, json, word},
    database::{begin, now, retry},
    entities::operation,
    error::{Fault, StoreError},
    events, subjects,
};
use ostler_core::{
    error::Failure,
    event::{Event, NewEvent},
    ids::OperationId,
    model::{OperationRecord, OperationState, StepRecord, StepState},
    subject::{Subject, SubjectKind},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::Expr,
};

pub async fn begin_one(db: &DatabaseConnection, record: &OperationRecord) -> Result<(), Fault> {
    retry(|| async move {
        let row = operation::ActiveModel {
            id: Set(record.id.to_string()),
            subject_kind: Set(word(&record.subject.kind)),
            subject_id: Set(record.subject.id.to_string()),
            name: Set(record.name.clone()),
            latest: Set(true),
            kind: Set(word(&record.kind)),
            state: Set(word(&record.state)),
            plan: Set(record.plan.clone()),
            outputs: Set(record.outputs.clone()),
            steps: Set(json(&record.steps)),
            failure: Set(record.failure.as_ref().map(json)),
            started: Set(record.started.as_microsecond()),
            ended: Set(record.ended.map(|time| time.as_microsecond())),
        };
        let txn = begin(db).await?;
        forget_latest(&txn, &record.subject.id.to_string()).await?;
        operation::Entity::insert(row).exec_without_returning(&txn).await?;
        Ok(txn.commit().await?)
    })
    .await
}

/// Whatever was the newest operation on a subject is so no longer.
async fn forget_latest(txn: &DatabaseTransaction, subject: &str) -> Result<(), DbErr> {
    operation::Entity::update_many()
        .col_expr(operation::Column::Latest, Expr::value(false))
        .filter(operation::Column::Latest.eq(true))
        .filter(operation::Column::SubjectId.eq(subject))
        .exec(txn)
        .await?;
    Ok(())
}

pub async fn get(db: &DatabaseConnection, id: OperationId) -> Result<Option<OperationRecord>, Fault> {
    operation::Entity::find_by_id(id.to_string()).one(db).await?.map(record).transpose()
}

pub async fn latest(db: &DatabaseConnection, subject: Subject) -> Result<Option<OperationRecord>, Fault> {
    operation::Entity::find()
        .filter(operation::Column::Latest.eq(true))
        .filter(operation::Column::SubjectId.eq(subject.id.to_string()))
        .one(db)
        .await?
        .map(record)
        .transpose()
}

/// Ids sort by their time of birth, so the newest subject has the newest operation.
pub async fn latest_called(
    db: &DatabaseConnection,
    kind: SubjectKind,
    name: &str,
) -> Result<Option<OperationRecord>, Fault> {
    operation::Entity::find()
        .filter(operation::Column::Latest.eq(true))
        .filter(operation::Column::Name.eq(name))
        .filter(operation::Column::SubjectKind.eq(word(&kind)))
        .order_by_desc(operation::Column::Id)
        .one(db)
        .await?
        .map(record)
        .transpose()
}

pub async fn set_state(
    db: &DatabaseConnection,
    id: OperationId,
    state: OperationState,
    failure: Option<&Failure>,
    events: &[NewEvent],
) -> Result<Vec<Event>, Fault> {
    let ended = state.is_end().then(now);
    retry(|| async move {
        let mut row = operation::ActiveModel {
            state: Set(word(&state)),
            failure: Set(failure.map(json)),
            ended: Set(ended),
            ..Default::default()
        };
        let txn = begin(db).await?;
        // What is being undone is what happens to the subject now, whatever was begun after it.
        if state == OperationState::Unwinding {
            let subject = operation::Entity::find_by_id(id.to_string())
                .select_only()
                .column(operation::Column::SubjectId)
                .into_tuple::<String>()
                .one(&txn)
                .await?
                .ok_or(StoreError::NoOperation(id))?;
            forget_latest(&txn, &subject).await?;
            row.latest = Set(true);
        }
        let update = operation::Entity::update_many().set(row).filter(operation::Column::Id.eq(id.to_string()));
        if update.exec(&txn).await?.rows_affected == 0 {
            return Err(StoreError::NoOperation(id).into());
        }
        let appended = events::append_in(&txn, events).await?;
        txn.commit().await?;
        Ok(appended)
    })
    .await
}

pub async fn replace_steps(db: &DatabaseConnection, id: OperationId, steps: &[StepRecord]) -> Result<(), Fault> {
    retry(|| async move {
        let row = operation::ActiveModel { steps: Set(json(&steps)), ..Default::default() };
        let update = operation::Entity::update_many().set(row).filter(operation::Column::Id.eq(id.to_string()));
        match update.exec(db).await?.rows_affected {
            0 => Err(StoreError::NoOperation(id).into()),
            _ => Ok(()),
        }
    })
    .await
}

pub async fn set_step(
    db: &DatabaseConnection,
    id: OperationId,
    index: usize,
    state: StepState,
    output: Option<&str>,
    events: &[NewEvent],
) -> Result<Vec<Event>, Fault> {
    retry(|| async move {
        let txn = begin(db).await?;
        let steps: Option<String> = operation::Entity::find_by_id(id.to_string())
            .select_only()
            .column(operation::Column::Steps)
            .lock_exclusive()
            .into_tuple()
            .one(&txn)
            .await?;
        let steps = steps.ok_or(StoreError::NoOperation(id))?;
        let mut steps: Vec<StepRecord> = Row { noun: "operation", key: &id }.json(&steps)?;
        let step = steps.get_mut(index).ok_or(StoreError::NoStep { operation: id, index })?;
        step.state = state;
        if let Some(output) = output {
            step.output = Some(output.to_owned());
        }
        let row = operation::ActiveModel { steps: Set(json(&steps)), ..Default::default() };
        operation::Entity::update_many().set(row).filter(operation::Column::Id.eq(id.to_string())).exec(&txn).await?;
        let appended = events::append_in(&txn, events).await?;
        txn.commit().await?;
        Ok(appended)
    })
    .await
}

fn record(model: operation::Model) -> Result<OperationRecord, Fault> {
    let row = Row { noun: "operation", key: &model.id };
    Ok(OperationRecord {
        id: row.parse(&model.id)?,
        subject: subjects::subject_of(&model.subject_kind, &model.subject_id)?,
        name: model.name.clone(),
        kind: row.word(&model.kind)?,
        state: row.word(&model.state)?,
        steps: row.json(&model.steps)?,
        failure: model.failure.as_deref().map(|text| row.json(text)).transpose()?,
        started: row.time(model.started)?,
        ended: model.ended.map(|time| row.time(time)).transpose()?,
        plan: model.plan.clone(),
        outputs: model.outputs.clone(),
    })
}
