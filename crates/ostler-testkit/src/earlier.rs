//! State directories that earlier releases left, kept as text so that a change of the schema can be tried on real ones.
//!
//! `states/RELEASE/NAME/` holds `state.sql` (the database, a statement a line), `key` (the key file of its secrets) and whatever files
//! belong to it. The code of that release wrote it, and it stays for ever: each later release must list, resume and destroy all of it. What
//! differs from machine to machine (folders, addresses) stands as a placeholder in the text.

use sea_orm::{ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, Statement, TransactionTrait};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The environment variable that names the release whose states are to be written.
pub const WRITE: &str = "OSTLER_WRITE_STATES";

const STATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/states");

/// What a placeholder stands for: the placeholder, and the text in its place.
pub type Placeholder<'a> = (&'a str, &'a str);

/// A state directory of an earlier release.
#[derive(Clone, Debug)]
pub struct EarlierState(PathBuf);

impl EarlierState {
    /// The one of `release`, which may not be written yet.
    pub fn new(release: &str, name: &str) -> Self {
        Self(Path::new(STATES).join(release).join(name))
    }

    /// Those of this name, of all releases, the oldest first.
    pub fn all(name: &str) -> Vec<Self> {
        let mut all: Vec<Self> = fs::read_dir(STATES)
            .expect("earlier releases left states")
            .map(|release| Self(release.expect("a readable folder").path().join(name)))
            .filter(|state| state.0.is_dir())
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        assert!(!all.is_empty(), "no earlier release left a state `{name}`");
        all
    }

    /// The folder that its other files are in.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Keeps the database and the key file of a state directory that nobody has open, as they are now.
    pub async fn write(&self, state_dir: &Path, placeholders: &[Placeholder<'_>]) {
        fs::create_dir_all(&self.0).expect("a folder");
        let sql = dump(&state_dir.join("state.db")).await;
        fs::write(self.path("state.sql"), hide(sql, placeholders)).expect("a written file");
        fs::copy(state_dir.join("key"), self.path("key")).expect("a copied key");
    }

    /// Makes a state directory of it.
    pub async fn restore(&self, state_dir: &Path, placeholders: &[Placeholder<'_>]) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).expect("a folder");
        self.restore_key(&state_dir.join("key"));
        let url = format!("sqlite://{}?mode=rwc", state_dir.join("state.db").display());
        self.restore_database(&url, placeholders).await;
    }

    /// Fills a database, which is empty.
    pub async fn restore_database(&self, url: &str, placeholders: &[Placeholder<'_>]) {
        load(&self.read("state.sql", placeholders), url).await;
    }

    /// Writes its key file.
    pub fn restore_key(&self, path: &Path) {
        let key = fs::read(self.path("key")).expect("a readable key");
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).expect("a new file");
        std::io::Write::write_all(&mut file, &key).expect("a written key");
    }

    /// One of its files, with what the placeholders stand for.
    pub fn read(&self, name: &str, placeholders: &[Placeholder<'_>]) -> String {
        let text = fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        placeholders.iter().fold(text, |text, (placeholder, meant)| text.replace(placeholder, meant))
    }
}

/// The text with placeholders in it.
pub fn hide(text: String, placeholders: &[Placeholder<'_>]) -> String {
    placeholders.iter().fold(text, |text, (placeholder, meant)| text.replace(meant, placeholder))
}

/// An SQLite database as SQL.
async fn dump(path: &Path) -> String {
    let db = Database::connect(format!("sqlite://{}?mode=rw", path.display())).await.expect("a database");
    let named = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name";
    let (mut schema, mut rows) = (String::new(), String::new());
    for row in query(&db, named).await {
        let [kind, name, sql] = [0, 1, 2].map(|index| row.try_get_by_index::<String>(index).expect("a text"));
        schema += &format!("{sql};\n");
        if kind == "table" {
            let columns = query(&db, &format!("SELECT name FROM pragma_table_info('{name}')")).await;
            let quoted: Vec<String> = columns
                .iter()
                .map(|column| format!("quote(\"{}\")", column.try_get_by_index::<String>(0).expect("a name")))
                .collect();
            let values = quoted.join(" || ', ' || ");
            for row in query(&db, &format!("SELECT {values} FROM \"{name}\" ORDER BY 1")).await {
                let values: String = row.try_get_by_index(0).expect("a text");
                assert!(!values.contains('\n'), "a statement is a line: {values}");
                rows += &format!("INSERT INTO \"{name}\" VALUES ({values});\n");
            }
        }
    }
    db.close().await.expect("a closed database");
    schema + &rows
}

async fn query(db: &DatabaseConnection, sql: &str) -> Vec<sea_orm::QueryResult> {
    db.query_all_raw(Statement::from_string(DatabaseBackend::Sqlite, sql)).await.expect("an answer")
}

/// Fills an empty database with what [`dump`] returned. MariaDB takes SQLite's words, too, where it is told to quote alike.
async fn load(sql: &str, url: &str) {
    let db = Database::connect(url).await.expect("a database");
    let is_mysql = db.get_database_backend() == DatabaseBackend::MySql;
    if is_mysql {
        // As the tables have it that a real Ostler makes there.
        let name = url.rsplit('/').next().expect("a URL names its database");
        let collate = format!("ALTER DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        db.execute_unprepared(&collate).await.expect("a collation");
    }
    // One transaction is one connection, which keeps its mode.
    let txn = db.begin().await.expect("a transaction");
    if is_mysql {
        txn.execute_unprepared("SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'").await.expect("a mode");
    }
    for statement in sql.lines() {
        // SQLite's `varchar` has no bound, and its `integer` takes 64 bits.
        let is_table = statement.starts_with("CREATE TABLE");
        let exact =
            || statement.replace(" varchar NOT NULL", " varchar(255) NOT NULL").replace("\" integer", "\" bigint");
        let bounded = if is_table { exact() } else { statement.to_owned() };
        let statement = if is_mysql { bounded.as_str() } else { statement };
        txn.execute_unprepared(statement).await.unwrap_or_else(|error| panic!("{error}: {statement}"));
    }
    txn.commit().await.expect("a commit");
    db.close().await.expect("a closed database");
}
