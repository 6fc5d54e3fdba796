//! Secrets. What is on the disk is only their ciphertext.

use crate::{
    codec::word,
    database::retry,
    entities::secret,
    error::{Fault, StoreError},
    key::KeyFile,
    subjects,
};
use ostler_core::{secret::Secret, subject::Subject};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};
use zeroize::Zeroizing;

pub async fn put(
    db: &DatabaseConnection,
    key: &KeyFile,
    owner: Option<Subject>,
    name: &str,
    text: &Secret,
) -> Result<(), Fault> {
    check_name(name)?;
    let sealed = &key.key(db).await?.seal(&place(owner, name), text.expose().as_bytes());
    retry(|| async move {
        let row = secret::ActiveModel {
            owner_id: Set(id_column(owner)),
            name: Set(name.to_owned()),
            owner_kind: Set(kind_column(owner)),
            sealed: Set(sealed.clone()),
        };
        let primary_key = [secret::Column::OwnerId, secret::Column::Name];
        let replace = OnConflict::columns(primary_key).update_column(secret::Column::Sealed).to_owned();
        Ok(secret::Entity::insert(row).on_conflict(replace).exec_without_returning(db).await.map(drop)?)
    })
    .await
}

pub async fn get(
    db: &DatabaseConnection,
    key: &KeyFile,
    owner: Option<Subject>,
    name: &str,
) -> Result<Option<Secret>, Fault> {
    let row = secret::Entity::find_by_id((id_column(owner), name.to_owned())).one(db).await?;
    let Some(row) = row else { return Ok(None) };
    let key = key.key(db).await?;
    let as_text = |text: Zeroizing<Vec<u8>>| std::str::from_utf8(&text).ok().map(Secret::new);
    if let Some(secret) = key.open(&place(owner, name), &row.sealed).and_then(as_text) {
        return Ok(Some(secret));
    }
    let owner = match owner {
        Some(owner) => subjects::name_of(db, owner).await?,
        None => None,
    };
    let Some(owner) = owner else { return Err(Fault::SecretDamaged(name.to_owned())) };
    let former = key.open(&former_place(&owner, name), &row.sealed).and_then(as_text);
    former.map(Some).ok_or_else(|| Fault::SecretDamaged(format!("{owner}/{name}")))
}

/// Of the user's own.
pub async fn names(db: &DatabaseConnection) -> Result<Vec<String>, Fault> {
    let query = secret::Entity::find().select_only().column(secret::Column::Name);
    let own = query.filter(secret::Column::OwnerId.eq(id_column(None))).order_by_asc(secret::Column::Name);
    Ok(own.into_tuple().all(db).await?)
}

pub async fn remove(db: &DatabaseConnection, owner: Option<Subject>, name: &str) -> Result<bool, Fault> {
    retry(|| async move {
        let delete = secret::Entity::delete_by_id((id_column(owner), name.to_owned()));
        Ok(delete.exec(db).await?.rows_affected > 0)
    })
    .await
}

fn id_column(owner: Option<Subject>) -> String {
    owner.map(|owner| owner.id.to_string()).unwrap_or_default()
}

fn kind_column(owner: Option<Subject>) -> String {
    owner.map(|owner| word(&owner.kind)).unwrap_or_default()
}

/// What the ciphertext is bound to. No part holds a NUL, so no two places are spelled alike; nor is one spelled like a former place, for
/// no server has a space in its name.
fn place(owner: Option<Subject>, name: &str) -> String {
    former_place(&owner.map(|owner| owner.to_string()).unwrap_or_default(), name)
}

/// The same while servers had no ids, where it was bound to their names. A secret that was stored then stays as it is until it is stored
/// anew. (Whoever lets a server be renamed has to store its secrets anew.)
fn former_place(owner: &str, name: &str) -> String {
    format!("ostler secret\0{owner}\0{name}")
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let length = name.chars().count();
    let ok = (1..=255).contains(&length) && name.trim() == name && !name.chars().any(char::is_control);
    if ok { Ok(()) } else { Err(StoreError::SecretName(name.to_owned())) }
}
