//! QEMU's control socket: QMP, one JSON object per line.
//! Protocol and commands: <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>.
//!
//! The socket lies in the machine's folder, which may be deeper than the 108 bytes of a socket address. So it is reached
//! through `/proc/self/fd`, and QEMU binds it by a relative name.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fs::File, io, os::fd::AsRawFd, path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// Failure of the control socket.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// Not reachable, or it broke off.
    #[error("can't talk to QEMU")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("QEMU did not answer `{0}` within {limit} s", limit = ANSWER.as_secs())]
    Silent(&'static str),
    /// QEMU refused.
    #[error("QEMU refused `{command}`: {said}")]
    Refused {
        /// Its name in QMP.
        command: &'static str,
        /// Its reason.
        said: String,
    },
    /// Not QMP.
    #[error("QEMU sent something that is not QMP")]
    Garbled(#[from] serde_json::Error),
}

/// What a machine does, as QEMU sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// `RunState` of QMP: `running`, `internal-error`, ...
    pub state: String,
    /// Reads from the first disk since the start.
    pub reads: u64,
    /// Writes to it.
    pub writes: u64,
    /// Restarts of the guest since the connection was made.
    pub resets: usize,
}

/// A connection. QEMU serves one at a time, so it is held only briefly.
pub struct Qmp {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
    resets: usize,
}

impl Qmp {
    /// Connects to the socket `name` in `folder`.
    pub async fn connect(folder: &Path, name: &str) -> Result<Self, QmpError> {
        let folder = File::open(folder)?;
        let stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())).await?;
        let (from, to) = stream.into_split();
        let mut qmp = Self { from: BufReader::new(from), to, resets: 0 };
        qmp.execute::<Value>("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// What the machine does.
    pub async fn vitals(&mut self) -> Result<Vitals, QmpError> {
        let status: Status = self.execute("query-status", json!({})).await?;
        let disks: Vec<Disk> = self.execute("query-blockstats", json!({})).await?;
        let (reads, writes) = disks
            .into_iter()
            .find(|disk| disk.device.as_deref() == Some("disk"))
            .map_or((0, 0), |disk| (disk.stats.rd_operations, disk.stats.wr_operations));
        Ok(Vitals { state: status.status, reads, writes, resets: self.resets })
    }

    /// Presses the power button.
    pub async fn power_button(&mut self) -> Result<(), QmpError> {
        self.execute::<Value>("system_powerdown", json!({})).await.map(drop)
    }

    /// Puts the image `file` into the optical drive `drive`, also where the guest locked its tray.
    pub async fn change_medium(&mut self, drive: &str, file: &Path) -> Result<(), QmpError> {
        let arguments = json!({
            "id": drive, "filename": file, "format": "raw", "read-only-mode": "read-only", "force": true,
        });
        self.execute::<Value>("blockdev-change-medium", arguments).await.map(drop)
    }

    /// Forwards one more port; `rule` as in the monitor's help for `hostfwd_add`. There is no command of QMP's own for it.
    pub async fn add_forward(&mut self, rule: &str) -> Result<(), QmpError> {
        const COMMAND: &str = "human-monitor-command";
        let said: String = self.execute(COMMAND, json!({ "command-line": format!("hostfwd_add {rule}") })).await?;
        match said.trim() {
            "" => Ok(()),
            said => Err(QmpError::Refused { command: "hostfwd_add", said: said.to_owned() }),
        }
    }

    async fn execute<T: DeserializeOwned>(&mut self, command: &'static str, arguments: Value) -> Result<T, QmpError> {
        timeout(ANSWER, self.exchange(command, arguments)).await.map_err(|_| QmpError::Silent(command))?
    }

    async fn exchange<T: DeserializeOwned>(&mut self, command: &'static str, arguments: Value) -> Result<T, QmpError> {
        let request = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.to.write_all(request.as_bytes()).await?;
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            match serde_json::from_str(&line)? {
                Message { answer: Some(answer), .. } => return Ok(serde_json::from_value(answer)?),
                Message { error: Some(error), .. } => return Err(QmpError::Refused { command, said: error.desc }),
                Message { event, .. } => self.resets += usize::from(event.as_deref() == Some("RESET")),
            }
        }
    }
}

/// Anything that QEMU says: an answer, an error, an event, or the greeting (which is none of these).
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

#[derive(Deserialize)]
struct Disk {
    device: Option<String>,
    stats: Stats,
}

#[derive(Deserialize)]
struct Stats {
    rd_operations: u64,
    wr_operations: u64,
}

/// QEMU answers in milliseconds; under emulation on a busy machine its main loop may be held up for a second or two.
const ANSWER: Duration = Duration::from_secs(20);
