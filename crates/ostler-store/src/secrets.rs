//! Secrets. What is on the disk is only their ciphertext.

use crate::{
    database::retry,
    entities::secret,
    error::{Fault, StoreError},
    key::KeyFile,
};
use ostler_core::{ids::ServerName, secret::Secret};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};

pub async fn put(
    db: &DatabaseConnection,
    key: &KeyFile,
    owner: Option<&ServerName>,
    name: &str,
    text: &Secret,
) -> Result<(), Fault> {
    check_name(name)?;
    let sealed = &key.key(db).await?.seal(&place(owner, name), text.expose().as_bytes());
    retry(|| async move {
        let row = secret::ActiveModel {
            owner: Set(owner_column(owner).to_owned()),
            name: Set(name.to_owned()),
            sealed: Set(sealed.clone()),
        };
        let primary_key = [secret::Column::Owner, secret::Column::Name];
        let replace = OnConflict::columns(primary_key).update_column(secret::Column::Sealed).to_owned();
        Ok(secret::Entity::insert(row).on_conflict(replace).exec_without_returning(db).await.map(drop)?)
    })
    .await
}

pub async fn get(
    db: &DatabaseConnection,
    key: &KeyFile,
    owner: Option<&ServerName>,
    name: &str,
) -> Result<Option<Secret>, Fault> {
    let row = secret::Entity::find_by_id((owner_column(owner).to_owned(), name.to_owned())).one(db).await?;
    let Some(row) = row else { return Ok(None) };
    let damaged = || Fault::SecretDamaged(owner.map_or(name.to_owned(), |owner| format!("{owner}/{name}")));
    let text = key.key(db).await?.open(&place(owner, name), &row.sealed).ok_or_else(damaged)?;
    let text = std::str::from_utf8(&text).map_err(|_| damaged())?;
    Ok(Some(Secret::new(text)))
}

/// Of the user's own.
pub async fn names(db: &DatabaseConnection) -> Result<Vec<String>, Fault> {
    let query = secret::Entity::find().select_only().column(secret::Column::Name);
    let own = query.filter(secret::Column::Owner.eq(owner_column(None))).order_by_asc(secret::Column::Name);
    Ok(own.into_tuple().all(db).await?)
}

pub async fn remove(db: &DatabaseConnection, owner: Option<&ServerName>, name: &str) -> Result<bool, Fault> {
    retry(|| async move {
        let delete = secret::Entity::delete_by_id((owner_column(owner).to_owned(), name.to_owned()));
        Ok(delete.exec(db).await?.rows_affected > 0)
    })
    .await
}

fn owner_column(owner: Option<&ServerName>) -> &str {
    owner.map_or("", ServerName::as_str)
}

/// What the ciphertext is bound to. Neither part holds a NUL, so no two places are spelled alike.
fn place(owner: Option<&ServerName>, name: &str) -> String {
    format!("ostler secret\0{}\0{name}", owner_column(owner))
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let length = name.chars().count();
    let ok = (1..=255).contains(&length) && name.trim() == name && !name.chars().any(char::is_control);
    if ok { Ok(()) } else { Err(StoreError::SecretName(name.to_owned())) }
}
