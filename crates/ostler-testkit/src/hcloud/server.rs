//! HTTP: the API below `/v1`, and the metadata services below `/metadata`.

use super::{
    Cloud,
    api::{self, Call, Fault},
    machines::Machines,
    metadata, servers,
    state::State,
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, State as Shared},
    http::{HeaderMap, Method, Response, StatusCode, Uri, header},
    routing::{any, get},
};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Starts it at an address; returns that with its port.
pub(super) async fn start(
    address: SocketAddr,
    machines: Arc<dyn Machines>,
) -> io::Result<(SocketAddr, Arc<Cloud>, JoinHandle<()>)> {
    let inside = machines.metadata_listener();
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let state = State::new(machines, format!("http://{address}/metadata"));
    let cloud = Arc::new(Cloud { state: Mutex::new(state) });
    let app = Router::new()
        .route("/v1/{*path}", any(answer))
        .route("/metadata/{server}/hetzner/v1/{*path}", get(metadata::answer))
        .layer(DefaultBodyLimit::max(1 << 20))
        .with_state(Arc::clone(&cloud));
    let inside = match inside {
        None => None,
        Some(listener) => {
            listener.set_nonblocking(true)?;
            let app = metadata::inside(Arc::clone(&cloud)).into_make_service_with_connect_info::<SocketAddr>();
            Some((TcpListener::from_std(listener)?, app))
        }
    };
    let server = tokio::spawn(async move {
        let metadata = async {
            if let Some((listener, app)) = inside {
                let _ = axum::serve(listener, app).await;
            }
        };
        // Only ends with the task.
        let _ = tokio::join!(axum::serve(listener, app).into_future(), metadata);
    });
    Ok((address, cloud, server))
}

async fn answer(
    Shared(cloud): Shared<Arc<Cloud>>,
    method: Method,
    uri: Uri,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let query = Query::try_from_uri(&uri).map(|Query(pairs)| pairs).unwrap_or_default();
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let call = Call { method: method.as_str(), path: &path, query, authorization, body: &body };
    let (answer, fault) = {
        let mut state = cloud.lock();
        state.settle();
        let answered = api::answer(&mut state, call);
        servers::attach_machines(&state);
        answered
    };
    cloud.wake();
    match fault {
        Some(Fault::Stall | Fault::ActAndStall) => std::future::pending().await,
        // Unwinding ends the connection's task, and says nothing.
        Some(Fault::Drop | Fault::ActAndDrop) => std::panic::resume_unwind(Box::new("the connection is to be dropped")),
        Some(Fault::Nothing | Fault::Error(..)) | None => {}
    }
    let status = StatusCode::from_u16(answer.status).expect("a status");
    let mut response = Response::builder().status(status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = if answer.body.is_null() {
        Body::empty()
    } else {
        response = response.header(header::CONTENT_TYPE, "application/json");
        Body::from(answer.body.to_string())
    };
    response.body(body).expect("headers are valid")
}
