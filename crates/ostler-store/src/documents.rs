//! What is on record of subjects that are no servers.

use crate::{
    codec::word,
    database::{begin, retry},
    entities::{child, document, secret, subject},
    error::Fault,
    subjects,
};
use ostler_core::{
    ports::Document,
    subject::{Subject, SubjectKind},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, sea_query::OnConflict};
use std::collections::HashMap;

pub async fn get(db: &DatabaseConnection, subject: Subject) -> Result<Option<String>, Fault> {
    Ok(document::Entity::find_by_id(subject.id.to_string()).one(db).await?.map(|row| row.text))
}

pub async fn all(db: &DatabaseConnection, kind: SubjectKind) -> Result<Vec<Document>, Fault> {
    let kind = word(&kind);
    let names = subject::Entity::find().filter(subject::Column::Kind.eq(&kind)).all(db).await?;
    let mut names: HashMap<String, String> = names.into_iter().map(|row| (row.id, row.name)).collect();
    let rows = document::Entity::find().filter(document::Column::SubjectKind.eq(&kind)).all(db).await?;
    // One that was removed between the two queries has no name.
    let named = rows.into_iter().filter_map(|row| Some((names.remove(&row.subject_id)?, row)));
    let mut found = named
        .map(|(name, row)| {
            let subject = subjects::subject_of(&row.subject_kind, &row.subject_id)?;
            Ok(Document { subject, name, text: row.text })
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

pub async fn put(db: &DatabaseConnection, new: &Document) -> Result<(), Fault> {
    let row = &document::ActiveModel {
        subject_id: Set(new.subject.id.to_string()),
        subject_kind: Set(word(&new.subject.kind)),
        text: Set(new.text.clone()),
    };
    retry(|| async move {
        let txn = begin(db).await?;
        subjects::ensure(&txn, new.subject, &new.name).await?;
        let replace = OnConflict::column(document::Column::SubjectId).update_column(document::Column::Text).to_owned();
        document::Entity::insert(row.clone()).on_conflict(replace).exec_without_returning(&txn).await?;
        Ok(txn.commit().await?)
    })
    .await
}

/// The lease stays, and with it the name: whoever removes the subject holds it, and gives both back.
pub async fn remove(db: &DatabaseConnection, subject: Subject) -> Result<(), Fault> {
    let id = &subject.id.to_string();
    retry(|| async move {
        let txn = begin(db).await?;
        child::Entity::delete_many().filter(child::Column::SubjectId.eq(id)).exec(&txn).await?;
        secret::Entity::delete_many().filter(secret::Column::OwnerId.eq(id)).exec(&txn).await?;
        document::Entity::delete_by_id(id).exec(&txn).await?;
        Ok(txn.commit().await?)
    })
    .await
}
