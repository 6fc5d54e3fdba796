//! All servers with their newest operations, in one query that carries only what a list shows: records are as long as their specs
//! and plans, and of a thousand of them most would be read for nothing.

use crate::{
    codec::Row,
    entities::{operation, server, subject},
    error::Fault,
};
use ostler_core::model::{MachineRecord, OperationOverview, ServerOverview};
use sea_orm::{
    DatabaseConnection, EntityTrait, JoinType, QueryOrder, QuerySelect, RelationDef,
    sea_query::{Expr, ExprTrait, IntoCondition},
};

/// `id`, `name`, `provider`, `phase`, `machine` and `verified` of a server, and its newest operation's columns where there is one.
type Columns = (
    String,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
);

pub async fn all(db: &DatabaseConnection) -> Result<Vec<ServerOverview>, Fault> {
    let rows: Vec<Columns> = server::Entity::find()
        .select_only()
        .column(server::Column::Id)
        .column(subject::Column::Name)
        .columns([server::Column::Provider, server::Column::Phase, server::Column::Machine, server::Column::Verified])
        .columns([operation::Column::Id, operation::Column::Kind, operation::Column::State])
        .columns([operation::Column::Steps, operation::Column::Failure, operation::Column::Started])
        .join(JoinType::InnerJoin, its_name())
        .join(JoinType::LeftJoin, newest_operation())
        .order_by_asc(subject::Column::Name)
        .into_tuple()
        .all(db)
        .await?;
    rows.into_iter().map(overview).collect()
}

fn its_name() -> RelationDef {
    server::Entity::belongs_to(subject::Entity).from(server::Column::Id).to(subject::Column::Id).into()
}

fn newest_operation() -> RelationDef {
    server::Entity::belongs_to(operation::Entity)
        .from(server::Column::Id)
        .to(operation::Column::SubjectId)
        .on_condition(|_, operations| Expr::col((operations, operation::Column::Latest)).eq(true).into_condition())
        .into()
}

fn overview(
    (server, name, provider, phase, machine, verified, id, kind, state, steps, failure, started): Columns,
) -> Result<ServerOverview, Fault> {
    let row = Row { noun: "server", key: &name };
    let operation = match (&id, kind, state, steps, started) {
        (Some(id), Some(kind), Some(state), Some(steps), Some(started)) => {
            let row = Row { noun: "operation", key: id };
            Some(OperationOverview {
                id: row.parse(id)?,
                kind: row.word(&kind)?,
                state: row.word(&state)?,
                steps: row.json(&steps)?,
                failure: failure.as_deref().map(|text| row.json(text)).transpose()?,
                started: row.time(started)?,
            })
        }
        _ => None,
    };
    Ok(ServerOverview {
        id: row.parse(&server)?,
        name: row.word(&name)?,
        provider: row.word(&provider)?,
        phase: row.word(&phase)?,
        machine: machine.map(MachineRecord),
        verified: verified.as_deref().map(|text| row.json(text)).transpose()?,
        operation,
    })
}
