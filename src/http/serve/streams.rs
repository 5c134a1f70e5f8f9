//! The streams of one HTTP/2 connection: how many are open, and the end of one whose client takes nothing.
//!
//! A stream is stopped by its own window, of which the socket's deadline sees nothing. hyper asks a body for its next piece when
//! the one before has gone into the window; so a body that gave a piece and is not asked again waits for its client. The task
//! that hyper gives us for each stream is ours to end: dropped, it resets this stream and no other
//! (`a_stream_whose_window_stays_closed_ends_alone`).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::service::Service;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::http::{Request, Response};

use crate::metrics::Metrics;

/// The most that one stream has beyond its window. Small, so that a slow client that reads on is not taken for a stopped one: it
/// has the write deadline for so much, about 1 KB/s with the default.
const PIECE_BYTES: usize = 16 << 10;

/// What is shared by the streams of a connection. hyper calls it for each request, and then gives it the task that answers.
#[derive(Clone)]
pub struct Streams<S> {
    routes: S,
    open: watch::Sender<usize>,
    /// The pace of the request that was called last, until its task takes it.
    next: Arc<Mutex<Option<Pace>>>,
    limit: Duration,
    tasks: TaskTracker,
    kill: CancellationToken,
    metrics: Arc<Metrics>,
}

impl<S> Streams<S> {
    /// Of a new connection. A stream whose client takes nothing for `limit` is reset.
    pub fn new(routes: S, limit: Duration, tasks: TaskTracker, kill: CancellationToken, metrics: Arc<Metrics>) -> Self {
        Self { routes, open: watch::Sender::new(0), next: Arc::default(), limit, tasks, kill, metrics }
    }

    /// Comes back when no stream was open for so long. What is no request, such as a ping or half a head, does not count.
    pub async fn idle(&self, limit: Duration) {
        let mut open = self.open.subscribe();
        // The sender is ours: it is not closed.
        while open.wait_for(|open| *open == 0).await.is_ok() && timeout(limit, open.changed()).await.is_ok() {}
    }
}

impl<S> Service<Request<Incoming>> for Streams<S>
where
    S: tower_service::Service<Request<Incoming>, Response = warp::reply::Response, Error = Infallible> + Clone,
    S::Future: Send + 'static,
{
    type Response = Response<Paced>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let pace = Pace::default();
        *lock(&self.next) = Some(pace.clone());
        // The routes are always ready.
        let answering = self.routes.clone().call(request);
        Box::pin(async move { Ok(answering.await?.map(|body| Paced::new(body, pace))) })
    }
}

impl<S, F> Executor<F> for Streams<S>
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let pace = lock(&self.next).take().unwrap_or_default();
        let place = Place::take(&self.open);
        let (limit, kill, metrics) = (self.limit, self.kill.clone(), self.metrics.clone());
        self.tasks.spawn(async move {
            let _place = place;
            let watched = Watched { stream: Box::pin(stream), pace, limit, timer: None };
            if let Some(Ended::Stalled) = kill.run_until_cancelled(watched).await {
                metrics.streams_stalled.inc();
            }
        });
    }
}

/// One stream, counted while it is open.
struct Place(watch::Sender<usize>);

impl Place {
    fn take(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// Since when a body waits to be asked for more; none while it is the body that has nothing.
#[derive(Clone, Default)]
struct Pace(Arc<Mutex<Option<Instant>>>);

/// A body in small pieces, which tells its pace.
pub struct Paced {
    body: Pin<Box<dyn Body<Data = Bytes, Error = warp::Error> + Send>>,
    rest: Bytes,
    pace: Pace,
}

impl Paced {
    fn new(body: impl Body<Data = Bytes, Error = warp::Error> + Send + 'static, pace: Pace) -> Self {
        Self { body: Box::pin(body), rest: Bytes::new(), pace }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = warp::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, warp::Error>>> {
        *lock(&self.pace.0) = None;
        if self.rest.is_empty() {
            match ready!(self.body.as_mut().poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
                None => return Poll::Ready(None),
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        *lock(&self.pace.0) = Some(Instant::now());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked before the first piece, where nothing is left over.
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

enum Ended {
    Itself,
    Stalled,
}

struct Watched<F> {
    stream: Pin<Box<F>>,
    pace: Pace,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        if self.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ended::Itself);
        }
        let Some(due) = lock(&self.pace.0).map(|since| since + self.limit) else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Ended::Stalled)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
