//! The edge: takes connectors with a tunnel's token, and clients for a host name, and joins their connections.
//!
//! Its protocol is the stand-in's own: each connection begins with one line of JSON. A connector says `tunnel` and `secret` and keeps the
//! connection; a client says `hostname`, `id` and `secret`; and for each client that is let in, the connector is told a `stream` and a
//! `service`, and comes with a new connection that says `stream`.

use super::{
    Shared, access,
    state::{State, now},
};
use rustix::net::sockopt;
use serde_json::{Value, json};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

/// How long a line, or a connector with its stream, is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connector that is connected. Dropping it cuts it off.
pub(super) struct Connector {
    pub tunnel: String,
    pub version: String,
    streams: mpsc::UnboundedSender<String>,
}

pub(super) async fn listen(ip: IpAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((ip, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // A connection that breaks is its own trouble.
        tokio::spawn(async move { take(stream, shared).await });
    }
}

async fn take(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let hello = timeout(PATIENCE, read_line(&mut stream)).await??;
    if let Some(number) = hello["stream"].as_u64() {
        if let Some(client) = shared.lock().waiting.remove(&number) {
            // A client that has gone meanwhile needs it no more.
            let _ = client.send(stream);
        }
        return Ok(());
    }
    match hello["hostname"].as_str() {
        Some(hostname) => client(stream, &shared, hostname, &hello).await,
        None => connector(stream, &shared, &hello).await,
    }
}

/// One line, byte by byte, so that nothing after it is swallowed.
async fn read_line(stream: &mut TcpStream) -> io::Result<Value> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') && line.len() < 8192 {
        line.push(stream.read_u8().await?);
    }
    serde_json::from_slice(&line).map_err(io::Error::other)
}

async fn say(stream: &mut TcpStream, words: Value) -> io::Result<()> {
    stream.write_all(format!("{words}\n").as_bytes()).await
}

/// A machine that is gone does not even say that its connection ends, so a connector is asked whether it is there, as the vendor's edge does.
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(2))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    Ok(sockopt::set_tcp_user_timeout(stream, 5_000)?)
}

async fn connector(mut stream: TcpStream, shared: &Shared, hello: &Value) -> io::Result<()> {
    notice_silence(&stream)?;
    let tunnel = hello["tunnel"].as_str().unwrap_or_default().to_owned();
    let (streams, mut opened) = mpsc::unbounded_channel();
    let number = {
        let mut state = shared.lock();
        let right = state.tunnel_secrets.get(&tunnel).is_some_and(|secret| hello["secret"] == *secret.as_str());
        let lives = state.tunnels.get(&tunnel).is_some_and(|tunnel| tunnel["deleted_at"].is_null());
        (right && lives && state.takes_connectors).then(|| {
            if let Some(tunnel) = state.tunnels.get_mut(&tunnel) {
                tunnel["conns_active_at"] = json!(now());
            }
            let number = state.number();
            let version = hello["version"].as_str().unwrap_or_default().to_owned();
            state.connectors.insert(number, Connector { tunnel, version, streams });
            number
        })
    };
    let Some(number) = number else {
        return say(&mut stream, json!({ "error": "Unauthorized: Invalid tunnel secret" })).await;
    };
    say(&mut stream, json!({ "connected": number })).await?;
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut nothing = String::new();
    loop {
        tokio::select! {
            line = opened.recv() => match line {
                Some(line) if write.write_all(line.as_bytes()).await.is_ok() => {}
                _ => break,
            },
            // It says nothing more; this ends where it goes.
            _ = read.read_line(&mut nothing) => break,
        }
    }
    shared.lock().connectors.remove(&number);
    Ok(())
}

async fn client(mut stream: TcpStream, shared: &Shared, hostname: &str, hello: &Value) -> io::Result<()> {
    let text = |field: &str| hello[field].as_str().unwrap_or_default();
    let waiting = open(&mut shared.lock(), hostname, text("id"), text("secret"));
    let waiting = match waiting {
        Ok(waiting) => waiting,
        Err(words) => return say(&mut stream, json!({ "error": words })).await,
    };
    let Ok(Ok(mut service)) = timeout(PATIENCE, waiting).await else {
        return say(&mut stream, json!({ "error": "the origin did not answer (502)" })).await;
    };
    say(&mut stream, json!({ "connected": hostname })).await?;
    copy_bidirectional(&mut stream, &mut service).await.map(drop)
}

/// Tells the connector of a host name to open a stream.
fn open(state: &mut State, hostname: &str, id: &str, secret: &str) -> Result<oneshot::Receiver<TcpStream>, String> {
    let record = state.dns_records.values().find(|record| record["name"] == hostname && record["type"] == "CNAME");
    let target = record.and_then(|record| record["content"].as_str()).ok_or("no such host")?;
    let tunnel = target.strip_suffix(".cfargotunnel.com").ok_or("no such host")?.to_owned();
    if record.is_none_or(|record| record["proxied"] != true) {
        return Err("the record is not proxied".to_owned());
    }
    if !access::admits(state, hostname, id, secret) {
        return Err("websocket: bad handshake (403, Access)".to_owned());
    }
    let rules = state.configurations.get(&tunnel).map(|document| document["config"]["ingress"].clone());
    let rule = rules.iter().filter_map(Value::as_array).flatten().find(|rule| {
        let name = rule["hostname"].as_str().unwrap_or_default();
        name.is_empty() || name == hostname
    });
    let service = rule.and_then(|rule| rule["service"].as_str()).unwrap_or("http_status:503").to_owned();
    if service.starts_with("http_status:") {
        return Err(format!("websocket: bad handshake ({service})"));
    }
    let number = state.number();
    let connector = state.connectors.values().find(|connector| connector.tunnel == tunnel);
    let connector = connector.ok_or("websocket: bad handshake (530, error 1033: no connector)")?;
    let line = format!("{}\n", json!({ "stream": number, "service": service }));
    connector.streams.send(line).map_err(|_| "the connector is gone".to_owned())?;
    let (sender, waiting) = oneshot::channel();
    state.waiting.insert(number, sender);
    Ok(waiting)
}
