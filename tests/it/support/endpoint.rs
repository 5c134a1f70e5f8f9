//! An HTTP endpoint of somebody else: it keeps what is posted to it and answers as the test says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// What was posted.
#[derive(Clone, Debug)]
pub struct Posted {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Posted {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What it answers, and how late.
#[derive(Clone, Debug)]
pub struct Says {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: &'static str,
    pub after: Duration,
}

impl Says {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: "", after: Duration::ZERO }
    }

    pub fn never() -> Self {
        Self { after: Duration::from_secs(600), ..Self::status(200) }
    }
}

/// It lives as long as the test.
pub struct Endpoint {
    pub address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Endpoint {
    /// Answers each request as `answer` says, which gets the request and how many came before it.
    pub async fn start(answer: impl Fn(&Posted, usize) -> Says + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (posted, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let (kept, tasks) = (posted.clone(), TaskTracker::new());
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (kept, answer) = (kept.clone(), answer.clone());
                let service = service_fn(move |request| {
                    let (kept, answer) = (kept.clone(), answer.clone());
                    async move { Ok::<_, Infallible>(serve(request, &kept, &*answer).await) }
                });
                tasks.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, posted }
    }

    pub async fn ok() -> Self {
        Self::start(|_, _| Says::status(204)).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    /// The ids that arrived, in order, repeated ones too.
    pub fn ids(&self) -> Vec<String> {
        self.posted().iter().map(|posted| posted.header("webhook-id").to_owned()).collect()
    }

    /// Waits until so many requests have come.
    pub async fn wait(&self, count: usize) -> Vec<Posted> {
        super::eventually(&format!("{count} were posted"), || async { self.posted().len() >= count }).await;
        self.posted()
    }
}

async fn serve(
    request: Request<Incoming>,
    kept: &Mutex<Vec<Posted>>,
    answer: &(impl Fn(&Posted, usize) -> Says + Send + Sync),
) -> Response<OneBody> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.unwrap().into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    let posted = Posted { path: head.uri.to_string(), headers: head.headers, body: bytes };
    let says = {
        let mut kept = kept.lock().unwrap();
        kept.push(posted.clone());
        answer(&posted, kept.len() - 1)
    };
    tokio::time::sleep(says.after).await;
    let mut response = Response::builder().status(says.status);
    for (name, value) in &says.headers {
        response = response.header(*name, value);
    }
    response.body(OneBody(Some(Bytes::from_static(says.body.as_bytes())))).unwrap()
}

/// A body in one piece.
pub struct OneBody(Option<Bytes>);

impl Body for OneBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(
            self.0.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(hyper::body::Frame::data(bytes))),
        )
    }
}
