//! Operations with their steps.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub subject_kind: String,
    pub subject_id: String,
    /// What the subject was called when it began.
    pub name: String,
    /// Whether it is the newest one of its subject. Kept as a column so that listing costs as much as there are subjects, not
    /// as much as there is history.
    pub latest: bool,
    pub kind: String,
    pub state: String,
    /// JSON that only the operation's own module reads.
    pub plan: String,
    /// JSON object in which earlier versions kept what all steps had found out.
    pub outputs: String,
    /// JSON list of steps, with what each has found out.
    pub steps: String,
    /// JSON of a `Failure`.
    pub failure: Option<String>,
    /// Microseconds since 1970.
    pub started: i64,
    /// Microseconds since 1970.
    pub ended: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
