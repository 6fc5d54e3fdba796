//! An ssh-agent inside this process that holds one key: it can list it and sign with it, and that is all.
//!
//! So no key lies on disk, and no agent process stays behind. The socket is in a folder of mode 0700, and peers of another
//! user id are hung up on. Connections hold the key weakly: once the session is gone, open ones can't sign any more.

use signature::Signer;
use ssh_agent_lib::{
    agent::{self, ListeningSocket, Session},
    error::AgentError,
    proto::{Identity, SignRequest},
};
use ssh_key::{PrivateKey, Signature};
use std::{
    io,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::AbortHandle,
};

/// The agent; dropping it forgets the key. The socket file goes with its folder.
pub(crate) struct Agent {
    _key: Arc<PrivateKey>,
    task: AbortHandle,
}

impl Agent {
    /// Listens at `socket`.
    pub(crate) fn start(key: PrivateKey, socket: &Path) -> io::Result<Self> {
        let listener = OwnUserOnly { listener: UnixListener::bind(socket)?, uid: rustix::process::geteuid().as_raw() };
        let key = Arc::new(key);
        let task = tokio::spawn(agent::listen(listener, KeyHolder(Arc::downgrade(&key)))).abort_handle();
        Ok(Self { _key: key, task })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers list and sign; every other request gets the library's default answer, which is failure.
struct KeyHolder(Weak<PrivateKey>);

#[async_trait::async_trait]
impl Session for KeyHolder {
    async fn request_identities(&mut self) -> Result<Vec<Identity>, AgentError> {
        let key = self.0.upgrade().ok_or(AgentError::Failure)?;
        Ok(vec![Identity { credential: key.public_key().key_data().clone().into(), comment: String::new() }])
    }

    async fn sign(&mut self, request: SignRequest) -> Result<Signature, AgentError> {
        let key = self.0.upgrade().ok_or(AgentError::Failure)?;
        if request.credential.key_data() != key.public_key().key_data() {
            return Err(AgentError::Failure);
        }
        key.try_sign(&request.data).map_err(|_| AgentError::Failure)
    }
}

impl agent::Agent<OwnUserOnly> for KeyHolder {
    fn new_session(&mut self, _peer: &UnixStream) -> impl Session {
        KeyHolder(self.0.clone())
    }
}

#[derive(Debug)]
struct OwnUserOnly {
    listener: UnixListener,
    uid: u32,
}

#[async_trait::async_trait]
impl ListeningSocket for OwnUserOnly {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if stream.peer_cred().is_ok_and(|peer| peer.uid() == self.uid) => return Ok(stream),
                Ok(_) => {}
                // Out of file descriptors, or a peer that hung up already: the agent must outlive both.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}
