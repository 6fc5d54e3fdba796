//! Everything that differs between SQLite and MySQL: opening, transactions that write, locks, clocks. No other module knows which
//! database it uses.

use crate::error::{DatabaseError, Fault, StoreError};
use ostler_core::secret::Secret;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    SqlxMySqlConnector, SqlxSqliteConnector, Statement, TransactionOptions, TransactionTrait,
    sqlx::{
        ConnectOptions, Executor,
        mysql::{MySqlConnectOptions, MySqlPoolOptions},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    time::{Duration, Instant},
};

/// How long one writer waits for another.
const BUSY: Duration = Duration::from_secs(30);
/// Connections that read from SQLite at the same time.
const READERS: u32 = 4;
/// Connections to MySQL, for reading and writing.
const MYSQL_CONNECTIONS: u32 = 4;

/// The database, for writing and for reading. On SQLite, `writer` has one connection, and `readers` have their own. On MySQL, both are the
/// same pool.
#[derive(Clone)]
pub struct Connections {
    pub writer: DatabaseConnection,
    pub readers: DatabaseConnection,
}

impl Connections {
    /// Closes the readers first: SQLite's last connection cleans up the WAL, and one that only reads can't.
    pub async fn close(self) -> Result<(), DbErr> {
        self.readers.close().await?;
        self.writer.close().await
    }
}

/// Opens `state.db` in `dir`, and creates it if it is missing. The caller holds the lock of `dir`.
///
/// WAL lets others read while one writes, so there is one connection that writes and a few that read. `synchronous=FULL` makes a commit
/// durable before it returns.
pub async fn open_sqlite(dir: &Path) -> Result<Connections, StoreError> {
    let path = dir.join("state.db");
    make_private_file(&path).map_err(|source| StoreError::Path { path: path.clone(), source })?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .row_buffer_size(1024)
        .disable_statement_logging();
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(2 * BUSY)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
    };
    let writing = options.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let writer = pool(1)
        .connect_with(writing)
        .await
        .map_err(|error| StoreError::Open { place: path.display().to_string(), source: error.into() })?;
    let readers = pool(READERS).connect_lazy_with(options.read_only(true));
    Ok(Connections {
        writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
        readers: SqlxSqliteConnector::from_sqlx_sqlite_pool(readers),
    })
}

/// Connects to a MySQL or MariaDB server. Also returns its name for messages, without the password.
pub async fn connect_mysql(url: &Secret) -> Result<(Connections, String), StoreError> {
    let bad_url = |source: DatabaseError| StoreError::Url { source };
    let options: MySqlConnectOptions = url.expose().parse().map_err(|error| bad_url(DatabaseError::from(error)))?;
    let Some(database) = options.get_database() else {
        return Err(bad_url(DbErr::Custom("it names no database".into()).into()));
    };
    let place = format!("mysql {}:{}/{database}", options.get_host(), options.get_port());
    let pool = MySqlPoolOptions::new()
        .max_connections(MYSQL_CONNECTIONS)
        .acquire_timeout(BUSY)
        .after_connect(|connection, _| {
            Box::pin(async move {
                // Otherwise InnoDB locks the gaps between rows, and writers of different rows run into deadlocks.
                connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.map(drop)
            })
        })
        .connect_with(options.disable_statement_logging())
        .await
        .map_err(|error| StoreError::Connect { place: place.clone(), source: error.into() })?;
    let writer = SqlxMySqlConnector::from_sqlx_mysql_pool(pool);
    Ok((Connections { readers: writer.clone(), writer }, place))
}

/// Begins a transaction that writes. On SQLite it takes the write lock at once. A transaction that first reads and then writes
/// would fail instead of waiting if another one wrote in between.
pub async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let mode = (db.get_database_backend() == DatabaseBackend::Sqlite).then_some(SqliteTransactionMode::Immediate);
    db.begin_with_options(TransactionOptions { sqlite_transaction_mode: mode, ..Default::default() }).await
}

/// Repeats `attempt` while the database rolls it back in favour of another transaction, for at most [`BUSY`].
pub async fn retry<T, F>(attempt: impl Fn() -> F + Send) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>> + Send,
{
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match attempt().await {
            Err(fault) if fault.is_transient() && begun.elapsed() < BUSY => tokio::time::sleep(pause).await,
            answer => return answer,
        }
        pause = (2 * pause).min(Duration::from_millis(50));
    }
}

/// Microseconds since 1970, by the clock that leases use. That is MySQL's own clock, because machines with different clocks may
/// share the database, and this machine's clock for SQLite, which only this machine uses.
pub async fn shared_clock(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    if db.get_database_backend() == DatabaseBackend::Sqlite {
        return Ok(now());
    }
    select_integer(db, "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)").await
}

/// Microseconds since 1970 by this process's clock.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// MySQL's own lock on the schema of one database. The connection holds it, and the transaction keeps the connection.
pub struct SchemaLock(DatabaseTransaction);

impl SchemaLock {
    /// Waits up to 60 s for the lock.
    pub async fn acquire(db: &DatabaseConnection) -> Result<Self, DbErr> {
        let holder = db.begin().await?;
        match select_integer(&holder, "SELECT GET_LOCK(CONCAT('ostler schema ', MD5(DATABASE())), 60)").await? {
            1 => Ok(Self(holder)),
            _ => Err(DbErr::Migration("another Ostler has been changing the schema for a minute".into())),
        }
    }

    pub async fn release(self) -> Result<(), DbErr> {
        select_integer(&self.0, "SELECT RELEASE_LOCK(CONCAT('ostler schema ', MD5(DATABASE())))").await?;
        self.0.commit().await
    }
}

/// Creates the state directory for its owner alone, and locks it until the returned file is dropped. Opening needs the lock,
/// because it creates files and the schema, and SQLite's switch to WAL does not wait for others. The lock is on the directory
/// itself, so it leaves no file behind.
pub async fn lock_dir(dir: &Path) -> Result<fs::File, StoreError> {
    let lock = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        fs::File::open(dir)
    };
    let failed = |source| StoreError::Path { path: dir.to_owned(), source };
    let file = lock().map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        Err(fs::TryLockError::WouldBlock) => {
            let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
            locked.map_err(io::Error::other).and_then(|locked| locked).map_err(failed)
        }
    }
}

/// SQLite gives its WAL the permissions of the database file, so this sets them before SQLite opens it.
fn make_private_file(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { file.set_permissions(fs::Permissions::from_mode(mode & 0o700)) }
}

async fn select_integer(db: &impl ConnectionTrait, sql: &str) -> Result<i64, DbErr> {
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    let value: Option<i64> = match row {
        Some(row) => row.try_get_by_index(0)?,
        None => None,
    };
    Ok(value.unwrap_or_default())
}
