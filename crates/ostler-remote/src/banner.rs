//! Waits for something that speaks SSH.
//!
//! A bare connect proves nothing: QEMU's user networking accepts before the guest does, and then hangs or hangs up. An
//! sshd under load may take seconds for its banner, so a slow attempt is not given up when the next one begins.

use futures::stream::{FuturesUnordered, StreamExt};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{sleep, timeout},
};

/// How long one attempt may last.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How long after the beginning of one that stays silent the next begins: a server that comes up is noticed within half a
/// second, and the seven attempts at one time stay below sshd's `MaxStartups` (10 by default).
const NEXT: Duration = Duration::from_millis(450);
/// How long after one that failed the next begins.
const PAUSE: Duration = Duration::from_millis(200);

/// Returns as soon as something at `address` shows an SSH banner; `false` after `limit`.
pub(crate) async fn wait(address: SocketAddr, limit: Duration) -> bool {
    let first_banner = async {
        let mut attempts = FuturesUnordered::new();
        loop {
            attempts.push(timeout(ATTEMPT, shows_banner(address)));
            match timeout(NEXT, attempts.next()).await {
                Ok(Some(Ok(true))) => return,
                Ok(_) => sleep(PAUSE).await,
                Err(_) => {}
            }
        }
    };
    timeout(limit, first_banner).await.is_ok()
}

/// RFC 4253, section 4.2: lines may precede the one that begins with `SSH-`.
async fn shows_banner(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let mut seen = Vec::new();
    let mut buffer = [0; 256];
    while seen.len() < 8192 {
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
            _ => return false,
        }
        if seen.starts_with(b"SSH-") || seen.windows(5).any(|window| window == b"\nSSH-") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    #[tokio::test]
    async fn a_listener_that_stays_silent_at_first_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (_silent, _) = listener.accept().await.unwrap();
            let (closed, _) = listener.accept().await.unwrap();
            drop(closed);
            let (mut speaks, _) = listener.accept().await.unwrap();
            speaks.write_all(b"a line before\r\nSSH-2.0-Test\r\n").await.unwrap();
            speaks
        });
        assert!(wait(address, Duration::from_secs(20)).await);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_connect_alone_is_no_banner() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(!wait(listener.local_addr().unwrap(), Duration::from_millis(300)).await);
    }
}
