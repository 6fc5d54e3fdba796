//! Names, and what has them now: the only place where a name leads to anything.

use crate::{
    codec::{Row, word},
    database::{begin, retry},
    entities::{document, server, subject},
    error::{Fault, StoreError},
};
use ostler_core::{
    ids::SubjectId,
    subject::{Subject, SubjectKind},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, QuerySelect, sea_query::OnConflict,
};

/// The project that has no name.
const NO_PROJECT: &str = "";

pub async fn get(db: &impl ConnectionTrait, kind: SubjectKind, name: &str) -> Result<Option<Subject>, Fault> {
    let found = subject::Entity::find()
        .filter(subject::Column::Kind.eq(word(&kind)))
        .filter(subject::Column::Project.eq(NO_PROJECT))
        .filter(subject::Column::Name.eq(name))
        .one(db)
        .await?;
    found.map(|row| subject_of(&row.kind, &row.id)).transpose()
}

/// Of two who claim the same name one inserts it, and both find it.
pub async fn claim(db: &DatabaseConnection, kind: SubjectKind, name: &str) -> Result<Subject, Fault> {
    if let Some(known) = get(db, kind, name).await? {
        return Ok(known);
    }
    retry(|| async move {
        let txn = begin(db).await?;
        let taken = [subject::Column::Kind, subject::Column::Project, subject::Column::Name];
        let unless_taken = OnConflict::columns(taken).do_nothing_on(taken).to_owned();
        let new = row(Subject { kind, id: SubjectId::new() }, name);
        subject::Entity::insert(new).on_conflict(unless_taken).exec_without_returning(&txn).await?;
        let claimed = get(&txn, kind, name).await?;
        txn.commit().await?;
        claimed.ok_or_else(|| DbErr::RecordNotFound(format!("the name {name} vanished while it was claimed")).into())
    })
    .await
}

/// What a subject is called; `None` once it is removed.
pub async fn name_of(db: &impl ConnectionTrait, subject: Subject) -> Result<Option<String>, DbErr> {
    let row = subject::Entity::find_by_id(subject.id.to_string()).select_only().column(subject::Column::Name);
    row.into_tuple().one(db).await
}

/// Sees to it that the subject has its name. Fails if another one has it.
pub async fn ensure(db: &impl ConnectionTrait, subject: Subject, name: &str) -> Result<(), Fault> {
    if name_of(db, subject).await?.is_none() {
        // Somebody else may have come first, for this subject or for another one.
        let unless_there = OnConflict::new().do_nothing_on([subject::Column::Id]).to_owned();
        subject::Entity::insert(row(subject, name)).on_conflict(unless_there).exec_without_returning(db).await?;
        if name_of(db, subject).await?.is_none() {
            return Err(StoreError::NameTaken(name.to_owned()).into());
        }
    }
    Ok(())
}

/// Takes its name from a subject of which nothing exists.
pub async fn forget_unused(db: &impl ConnectionTrait, subject: Subject) -> Result<(), DbErr> {
    let id = subject.id.to_string();
    let exists = match subject.kind {
        SubjectKind::Server => server::Entity::find_by_id(&id).count(db).await? > 0,
        SubjectKind::Site | SubjectKind::Zone | SubjectKind::Certificate | SubjectKind::Account => {
            document::Entity::find_by_id(&id).count(db).await? > 0
        }
    };
    if !exists {
        subject::Entity::delete_by_id(&id).exec(db).await?;
    }
    Ok(())
}

/// What the columns of a row say.
pub fn subject_of(kind: &str, id: &str) -> Result<Subject, Fault> {
    let row = Row { noun: "subject", key: &id };
    Ok(Subject { kind: row.word(kind)?, id: row.parse(id)? })
}

fn row(subject: Subject, name: &str) -> subject::ActiveModel {
    subject::ActiveModel {
        id: Set(subject.id.to_string()),
        kind: Set(word(&subject.kind)),
        project: Set(NO_PROJECT.to_owned()),
        name: Set(name.to_owned()),
    }
}
