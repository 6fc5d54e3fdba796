//! A throw-away MariaDB server: its own data directory, socket, port and password, and nothing left of it afterwards.

use crate::keeper::Keeper;
use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    net::TcpListener,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Databases that are there from the start, to be handed out one by one.
const DATABASES: usize = 64;

/// Makes the data directory in `$1`, and becomes the server on port `$2`. Its temporary tables are in a directory of its own:
/// a server that starts removes those that it finds, and another one that has them open falls over.
const SERVER: &str = r#"user=; [ "$(id -u)" != 0 ] || user=--user=root
mkdir "$1/tmp" && export TMPDIR="$1/tmp" || exit
mariadb-install-db --no-defaults $user --force --skip-test-db --skip-name-resolve \
    --auth-root-authentication-method=socket "--datadir=$1/data" >&2 || exit
exec mariadbd --no-defaults $user "--datadir=$1/data" "--tmpdir=$1/tmp" "--socket=$1/socket" "--pid-file=$1/pid" "--init-file=$1/setup.sql" \
    "--port=$2" --bind-address=127.0.0.1 --skip-name-resolve --innodb-buffer-pool-size=32M"#;

/// A running server. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct MariaDb {
    _keeper: Keeper,
    port: u16,
    password: String,
    used: AtomicUsize,
}

impl MariaDb {
    /// The server that all tests of a process share, started at its first use. `None`, and a line on stderr that says so,
    /// where no MariaDB is installed.
    ///
    /// # Panics
    /// If it is installed but does not start, or if it is not installed and `OSTLER_REQUIRE_MARIADB` is `1`.
    pub fn shared() -> Option<&'static MariaDb> {
        static SHARED: OnceLock<Option<MariaDb>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Starts a server of one's own; else like [`MariaDb::shared`].
    ///
    /// # Panics
    /// Likewise.
    pub fn start() -> Option<MariaDb> {
        let installed = Command::new("mariadbd").arg("--version").output().is_ok_and(|output| output.status.success());
        if !installed {
            let required = std::env::var_os("OSTLER_REQUIRE_MARIADB").is_some_and(|value| value == "1");
            assert!(!required, "mariadbd is not installed, but OSTLER_REQUIRE_MARIADB is 1");
            eprintln!("skipped: mariadbd is not installed (Debian package mariadb-server)");
            return None;
        }
        // Another process may take the port before the server does.
        let mut log = String::new();
        for _ in 0..3 {
            match launch() {
                Ok(server) => return Some(server),
                Err(error) => log = error.to_string(),
            }
        }
        panic!("mariadbd does not start: {log}");
    }

    /// URL of an empty database that nobody else was given.
    ///
    /// # Panics
    /// If there is none left.
    pub fn database(&self) -> String {
        let number = self.used.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "all {DATABASES} databases of the throw-away server are in use");
        format!("mysql://ostler:{}@127.0.0.1:{}/ostler_{number}", self.password, self.port)
    }
}

fn launch() -> io::Result<MariaDb> {
    let dir = tempfile::Builder::new().prefix("ostler-mariadb-").tempdir()?;
    let password = random_hex()?;
    // The directory is its owner's alone, and so is what is in it.
    fs::write(dir.path().join("setup.sql"), setup_sql(&password))?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let mut keeper = Keeper::start(dir, SERVER, &[&port.to_string()])?;
    let stderr = keeper.log();
    let server = MariaDb { _keeper: keeper, port, password, used: AtomicUsize::new(0) };
    await_ready(BufReader::new(stderr.expect("it is piped")))?;
    Ok(server)
}

/// Reads the server's log until it says that it listens, which is after the set-up file; of the rest it shows what follows
/// the first error, such as a crash.
fn await_ready(mut log: impl BufRead + Send + 'static) -> io::Result<()> {
    let mut said = String::new();
    while log.read_line(&mut said)? > 0 {
        if said.lines().next_back().is_some_and(|line| line.contains("ready for connections")) {
            std::thread::spawn(move || {
                let lines = log.lines().map_while(Result::ok).skip_while(|line| !line.contains("[ERROR]"));
                lines.for_each(|line| eprintln!("mariadbd: {line}"));
            });
            return Ok(());
        }
    }
    Err(io::Error::other(said))
}

/// The server runs it before it listens. One statement per line, as `--init-file` wants it.
fn setup_sql(password: &str) -> String {
    let mut sql = format!("CREATE USER 'ostler'@'127.0.0.1' IDENTIFIED BY '{password}';\n");
    for number in 0..DATABASES {
        sql += &format!("CREATE DATABASE ostler_{number};\nGRANT ALL ON ostler_{number}.* TO 'ostler'@'127.0.0.1';\n");
    }
    sql
}

fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::MariaDb;
    use std::{net::TcpStream, time::Duration};

    #[test]
    fn a_dropped_server_leaves_nothing() {
        let Some(server) = MariaDb::start() else { return };
        let address = ([127, 0, 0, 1], server.port).into();
        assert!(TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok());
        assert_ne!(server.database(), server.database());
        let keeper = server._keeper.id();
        drop(server);
        assert!(TcpStream::connect(address).is_err());
        assert!(!std::path::Path::new(&format!("/proc/{keeper}")).exists());
    }
}
