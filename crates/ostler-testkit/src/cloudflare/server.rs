//! HTTP: the API below `/client/v4`.

use super::{
    Shared,
    api::{self, Call, Fault},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, Method, Response, Uri, header},
    routing::any,
};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, task::JoinHandle};

/// Starts it at an address; returns that with its port.
pub(super) async fn start(address: SocketAddr, shared: Arc<Shared>) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let app = Router::new().route("/client/v4/{*path}", any(answer)).with_state(shared);
    let server = tokio::spawn(async move {
        // Only ends with the task.
        let _ = axum::serve(listener, app).await;
    });
    Ok((address, server))
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let query = Query::try_from_uri(&uri).map(|Query(pairs)| pairs).unwrap_or_default();
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let call = Call { method: method.as_str(), path: &path, query, authorization, body: &body };
    let (status, body, fault) = api::answer(&mut shared.lock(), call);
    if let Some(Fault::Drop | Fault::ActAndDrop) = fault {
        // Unwinding ends the connection's task, and says nothing.
        std::panic::resume_unwind(Box::new("the connection is to be dropped"));
    }
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .expect("headers are valid")
}
