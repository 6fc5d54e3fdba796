//! HTTPS as pveproxy speaks it: HTTP/1.1, messages in the status line, forms that are split at `;` too.

use super::{
    Fault, Node,
    api::{self, Refusal, Request},
    schema::{self, Parameters},
    state::Seen,
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, Response, StatusCode, Uri, header},
    serve::Listener,
};
use hyper::ext::ReasonPhrase;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::{Value, json};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Starts it at an address; returns that with its port, its certificate, and that of its authority in PEM.
pub(super) async fn start(
    node: Arc<Node>,
    address: SocketAddr,
) -> io::Result<(JoinHandle<()>, SocketAddr, Vec<u8>, String)> {
    let (certificate, key, authority) = certificates().map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key))
        .map_err(io::Error::other)?;
    let tcp = TcpListener::bind(address).await?;
    let address = tcp.local_addr()?;
    let listener = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let app = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(node);
    let server = tokio::spawn(async move {
        // Only ends with the task.
        let _ = axum::serve(listener, app).await;
    });
    Ok((server, address, certificate.to_vec(), authority))
}

/// As `pvecm updatecerts` makes them: an authority of the cluster, and the node's certificate by it.
fn certificates() -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>, String), rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Proxmox Virtual Environment");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut node =
        CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned(), super::NODE.to_owned()])?;
    node.distinguished_name.push(DnType::CommonName, "pve1.lan");
    let key = KeyPair::generate()?;
    let certificate = node.signed_by(&key, &authority)?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key that was just made");
    Ok((certificate.der().clone(), private, authority.pem()))
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.tcp).await;
            // A client that refuses the certificate is none.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

async fn answer(
    State(node): State<Arc<Node>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let upload = header(header::CONTENT_TYPE)
        .strip_prefix("multipart/form-data; boundary=")
        .map(|boundary| multipart(&body, boundary));
    let (mut parameters, file, text) = match upload {
        Some(Some((fields, file))) => (fields, Some(file), String::new()),
        Some(None) => return respond(Err(Refusal::new(500, "upload failed"))),
        None => {
            let text = String::from_utf8_lossy(&body).into_owned();
            (decode(&text), None, text)
        }
    };
    parameters.extend(decode(uri.query().unwrap_or_default()));
    let path = uri.path().strip_prefix("/api2/json/").unwrap_or_default();
    let path: Vec<String> = path.split('/').map(percent_decode).collect();
    let Some((endpoint, found)) = schema::endpoint(method.as_str(), &path) else {
        return respond(Err(Refusal::new(501, &format!("Method '{method} {}' not implemented", uri.path()))));
    };
    parameters.extend(found);
    let fault = {
        let mut state = node.lock();
        state.requests.push(Seen { endpoint: endpoint.to_owned(), parameters: parameters.clone(), body: text });
        state.faults.get_mut(endpoint).and_then(std::collections::VecDeque::pop_front)
    };
    match fault {
        Some(Fault::Refuse(status, words)) => return respond(Err(Refusal::new(status, words))),
        Some(Fault::Stall) => return std::future::pending().await,
        Some(Fault::ActAndStall | Fault::Nothing) | None => {}
    }
    let request = Request { node: &node, endpoint, parameters, file };
    let reply = api::answer(request, header(header::AUTHORIZATION)).await;
    if fault == Some(Fault::ActAndStall) {
        return std::future::pending().await;
    }
    respond(reply)
}

fn respond(reply: Result<Value, Refusal>) -> Response<Body> {
    let (status, words, body) = match reply {
        Ok(data) => (200, "OK".to_owned(), json!({ "data": data })),
        Err(Refusal { status, message, errors }) if errors.is_empty() => {
            (status, message.clone(), json!({ "data": null, "message": format!("{message}\n") }))
        }
        Err(Refusal { status, message, errors }) => (status, message, json!({ "data": null, "errors": errors })),
    };
    // The first line of the message; the body is as some proxies leave it where the status is none of HTTP's.
    let line = words.lines().next().unwrap_or_default().to_owned();
    let body = if status >= 590 { String::new() } else { body.to_string() };
    let mut response = Response::builder()
        .status(StatusCode::from_u16(status).expect("a status"))
        .header(header::CONTENT_TYPE, "application/json;charset=UTF-8")
        .body(Body::from(body))
        .expect("headers are valid");
    if let Ok(reason) = ReasonPhrase::try_from(line.into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    response
}

/// `decode_urlencoded` of PVE::Tools: split at `&` and `;`, and what comes after a second `=` is lost.
fn decode(text: &str) -> Parameters {
    let pairs = text.split(['&', ';']).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let mut parts = pair.split('=').map(|part| percent_decode(&part.replace('+', " ")));
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        })
        .collect()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(decoded)) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `file_upload_multipart` of PVE::APIServer::AnyEvent: fields, then the file, which must be called `filename`, as the last part.
fn multipart(body: &Bytes, boundary: &str) -> Option<(Parameters, Bytes)> {
    let delimiter = format!("--{boundary}\r\n");
    let mut parameters = Parameters::new();
    let mut at = 0;
    loop {
        let rest = &body[at..];
        if !rest.starts_with(delimiter.as_bytes()) {
            return None;
        }
        let head_end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&rest[delimiter.len()..head_end]).into_owned();
        let start = at + head_end + 4;
        let quoted = |key: &str| Some(head.split(&format!("{key}=\"")).nth(1)?.split('"').next()?.to_owned());
        if let Some(filename) = quoted("; filename") {
            if quoted("; name")? != "filename" {
                return None;
            }
            let end = format!("\r\n--{boundary}--\r\n");
            let file = body.slice(start..).len().checked_sub(end.len())?;
            if !body.ends_with(end.as_bytes()) {
                return None;
            }
            parameters.insert("filename".to_owned(), filename);
            return Some((parameters, body.slice(start..start + file)));
        }
        let length = body[start..].windows(2).position(|bytes| bytes == b"\r\n")?;
        parameters.insert(quoted("; name")?, String::from_utf8_lossy(&body[start..start + length]).into_owned());
        at = start + length + 2;
    }
}
