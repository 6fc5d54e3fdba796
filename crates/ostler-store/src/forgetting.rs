//! Which events may be forgotten, and how.

use crate::{
    codec::{Row, word},
    database::{begin, retry},
    entities::{event, state},
    error::Fault,
};
use jiff::Timestamp;
use ostler_core::{ids::OperationId, subject::SubjectKind};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
    Value, sea_query::Expr,
};

/// Those that ended before a time and have events, but for the newest of each kind on a server that is there (ids sort by their time of
/// birth); a subject that is no server is there while something is on record of it. And what has events as if it were an operation, and is in no journal: a download of an image. Of 1,000,000 events of 2,000
/// operations, SQLite finds them in 0.06 s.
const TO_FORGET: &str = "
    SELECT o.id FROM operations o
    WHERE o.ended < ?
      AND NOT ((EXISTS (SELECT 1 FROM servers s WHERE s.id = o.subject_id)
                OR EXISTS (SELECT 1 FROM documents d WHERE d.subject_id = o.subject_id))
               AND NOT EXISTS (SELECT 1 FROM operations n
                               WHERE n.subject_id = o.subject_id AND n.kind = o.kind AND n.id > o.id))
      AND EXISTS (SELECT 1 FROM events e WHERE e.operation = o.id)
    UNION ALL
    SELECT d.operation FROM (SELECT DISTINCT operation FROM events WHERE operation IS NOT NULL) d
    WHERE NOT EXISTS (SELECT 1 FROM operations o WHERE o.id = d.operation)
      AND (SELECT MAX(e.time) FROM events e WHERE e.operation = d.operation) < ?
    ORDER BY 1";

/// Each operation that ended has events, unless they were forgotten.
const FORGOTTEN: &str = "
    SELECT o.id FROM operations o
    WHERE o.subject_kind = ? AND o.name = ? AND o.ended IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM events e WHERE e.operation = o.id)
    LIMIT 1";

pub async fn operations(db: &DatabaseConnection, before: Timestamp) -> Result<Vec<OperationId>, Fault> {
    let before = Value::from(before.as_microsecond());
    let ids = ids(db, TO_FORGET, [before.clone(), before]).await?;
    ids.iter().map(|id| Row { noun: "operation", key: id }.parse(id)).collect()
}

pub async fn has_forgotten(db: &DatabaseConnection, kind: SubjectKind, name: &str) -> Result<bool, Fault> {
    Ok(!ids(db, FORGOTTEN, [word(&kind).into(), name.into()]).await?.is_empty())
}

async fn ids(db: &DatabaseConnection, sql: &str, values: [Value; 2]) -> Result<Vec<String>, Fault> {
    let rows = db.query_all_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?;
    Ok(rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?)
}

/// Forgets at most `limit` events of an operation, oldest first; returns how many.
pub async fn forget(db: &DatabaseConnection, operation: OperationId, limit: u32) -> Result<u32, Fault> {
    retry(|| async move {
        let txn = begin(db).await?;
        let numbers: Vec<i64> = event::Entity::find()
            .select_only()
            .column(event::Column::Number)
            .filter(event::Column::Operation.eq(operation.to_string()))
            .order_by_asc(event::Column::Number)
            .limit(u64::from(limit))
            .into_tuple()
            .all(&txn)
            .await?;
        let count = u32::try_from(numbers.len()).unwrap_or(limit);
        if count > 0 {
            event::Entity::delete_many().filter(event::Column::Number.is_in(numbers)).exec(&txn).await?;
        }
        txn.commit().await?;
        Ok(count)
    })
    .await
}

pub async fn last(db: &DatabaseConnection) -> Result<Option<Timestamp>, Fault> {
    let last: Option<Option<i64>> = state::Entity::find_by_id(state::ROW)
        .select_only()
        .column(state::Column::LastForgetting)
        .into_tuple()
        .one(db)
        .await?;
    last.flatten().map(|time| Row { noun: "state", key: &state::ROW }.time(time)).transpose()
}

pub async fn set_last(db: &DatabaseConnection, time: Timestamp) -> Result<(), Fault> {
    retry(|| async move {
        state::Entity::update_many()
            .col_expr(state::Column::LastForgetting, Expr::value(time.as_microsecond()))
            .filter(state::Column::Id.eq(state::ROW))
            .exec(db)
            .await?;
        Ok(())
    })
    .await
}
