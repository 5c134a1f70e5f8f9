//! What a WebSocket connection says and means: messages in, subscriptions, frames out. Knows no socket.
//!
//! An event that several subscriptions of a connection match is sent once: while there is more than one, what was sent is
//! remembered (`an_event_that_two_subscriptions_match_is_sent_once`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::State;
use super::call::{cursor, is_name};
use super::connections::Guard;
use super::credential::{self, unix_now};
use super::events;
use super::problem::Problem;
use super::rate::Kind;
use super::ws_commands::{Command, Commands, refusal};
use super::ws_pace::{Pace, Step};
use crate::auth::{Globs, Principal};
use crate::disconnect::Disconnect;
use crate::event::text_frame;
use crate::filter::Sent;
use crate::replay::Scope;
use crate::ring::Encoding;
use crate::subscriber::{Delivery, Request, Subscriber};

/// What is gathered for one write, in bytes, about.
const PIECE_BYTES: usize = 128 << 10;
/// Deliveries looked at for one write.
const STEPS_MAX: usize = 4096;
/// A connection may send so many messages that are not understood.
const STRIKES_MAX: u32 = 5;
/// And so many tokens in a row that are refused: reading one costs far more than most messages.
const REFUSED_MAX: u32 = 20;

/// What clients send.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Message {
    Subscribe {
        id: String,
        tenant: Option<String>,
        types: Option<TypeList>,
        subject: Option<String>,
        after: Option<String>,
    },
    Unsubscribe {
        id: String,
    },
    Ping {},
    Auth {
        token: String,
    },
    Command {
        id: String,
        name: String,
        #[serde(default)]
        args: Value,
    },
}

/// A list of globs, or one text with commas.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TypeList {
    Text(String),
    List(Vec<String>),
}

struct Subscription {
    id: String,
    subscriber: Subscriber,
}

/// One connection's state.
pub struct Session {
    state: Arc<State>,
    principal: Principal,
    guard: Guard,
    subscriptions: Vec<Subscription>,
    /// First to be asked for what is new, so that a busy one cannot silence the others.
    turn: usize,
    strikes: u32,
    /// Tokens that were refused since the last good one.
    refused: u32,
    pace: Pace,
    /// What was sent, while there are several subscriptions.
    sent: Option<Sent>,
    /// Commands that are not answered yet. Boxed: most connections send none.
    commands: Option<Box<Commands>>,
    beat_at: Instant,
    expires_at: Instant,
    delivered: Counter,
}

impl Session {
    /// A connection of this caller's.
    pub fn new(state: Arc<State>, principal: Principal, guard: Guard) -> Self {
        let delivered = state.metrics.delivered("websocket");
        let beat_at = Instant::now() + state.settings.heartbeat;
        let expires_at = expiry(&principal);
        Self {
            state,
            principal,
            guard,
            subscriptions: Vec::new(),
            turn: 0,
            strikes: 0,
            refused: 0,
            pace: Pace::new(Instant::now()),
            sent: None,
            commands: None,
            beat_at,
            expires_at,
            delivered,
        }
    }

    /// The first frame.
    pub fn hello(&self) -> Bytes {
        let heartbeat = self.state.settings.heartbeat.as_secs();
        frame(&json!({
            "type": "hello", "connection": self.guard.id, "heartbeat_s": heartbeat, "protocol": super::ws::PROTOCOL,
            "version": env!("CARGO_PKG_VERSION"),
        }))
    }

    /// The content of `bye`.
    pub fn bye(&self, why: Disconnect) -> String {
        let bye = why.bye();
        format!(r#"{{"type":"bye",{}"#, &bye[1..])
    }

    /// Notes why the connection ends.
    pub fn end(&self, why: Disconnect) {
        self.guard.control.end(why);
    }

    /// When [`Self::beat`] is due.
    pub fn next_deadline(&self) -> Instant {
        self.beat_at.min(self.expires_at)
    }

    /// Takes one message.
    pub async fn take(&mut self, text: &str, out: &mut VecDeque<Bytes>) -> Option<Disconnect> {
        let per_second = self.state.in_force.load().limits.messages_per_connection;
        match self.pace.step(per_second, Instant::now()) {
            Step::On => {}
            Step::TooFast => {
                self.state.metrics.refused("too_many_requests");
                let message = "this connection sends too many messages; it is closed if it goes on";
                out.push_back(error(id_of(text).as_deref(), "too_many_requests", message));
                return None;
            }
            Step::Enough => return Some(Disconnect::TooMany),
        }
        if text.len() > self.state.settings.request_bytes_max {
            return self.strike(None, "too_long", "this message is longer than http.request_bytes_max", out);
        }
        let read: Result<Message, _> = serde_json::from_str(text);
        // serde reads a message from a list of its values as well. Nobody means that.
        let object = text.trim_start().starts_with('{');
        let message = match read.and_then(|m| if object { Ok(m) } else { Err(serde_json::Error::custom("no object")) })
        {
            Ok(message) => message,
            Err(error) => {
                let (code, message) = explain(text, &error);
                return self.strike(id_of(text).as_deref(), code, &message, out);
            }
        };
        if matches!(message, Message::Subscribe { .. } | Message::Command { .. }) {
            // What was revoked since, and did not end the connection, is a tenant that it does not show.
            match self.state.connections.revocations().left(self.principal.clone(), unix_now()) {
                Ok(left) => self.principal = left,
                Err(_) => return Some(Disconnect::Revoked),
            }
        }
        match message {
            Message::Ping {} => out.push_back(frame(&json!({"type": "pong"}))),
            Message::Auth { token } => return self.refresh(&token, out),
            Message::Unsubscribe { id } => {
                let before = self.subscriptions.len();
                self.subscriptions.retain(|subscription| subscription.id != id);
                if self.subscriptions.len() < 2 {
                    self.sent = None;
                }
                if self.subscriptions.len() == before {
                    out.push_back(error(Some(&id), "unknown_subscription", "there is no subscription of this id"));
                }
            }
            Message::Command { id, name, args } => {
                let (state, principal, connection) =
                    (self.state.clone(), self.principal.clone(), self.guard.id.clone());
                let command = Command { state, principal, connection, id, name, args };
                let limits = &self.state.in_force.load().limits;
                match self.state.rates.take(Kind::Request, &self.principal, limits) {
                    Ok(()) => out.extend(self.commands.get_or_insert_default().push(command)),
                    Err(problem) => out.push_back(refusal(&self.state, &command.id, &problem)),
                }
            }
            Message::Subscribe { id, tenant, types, subject, after } => {
                if let Err(problem) =
                    self.subscribe(&id, tenant.as_deref(), types, subject.as_deref(), after.as_deref(), out).await
                {
                    self.state.metrics.refused(problem.code);
                    out.push_back(error(Some(&id), problem.code, problem.message()));
                }
            }
        }
        None
    }

    async fn subscribe(
        &mut self,
        id: &str,
        tenant: Option<&str>,
        types: Option<TypeList>,
        subject: Option<&str>,
        after: Option<&str>,
        out: &mut VecDeque<Bytes>,
    ) -> Result<(), Problem> {
        if !(1..=64).contains(&id.len()) || self.subscriptions.iter().any(|other| other.id == id) {
            return Err(Problem::field("id", "id must be 1 to 64 bytes and not in use on this connection"));
        } else if self.subscriptions.len() >= self.state.in_force.load().limits.subscriptions_per_connection {
            return Err(Problem::later(
                warp::http::StatusCode::TOO_MANY_REQUESTS,
                "too_many_subscriptions",
                "this connection has as many subscriptions as limits.subscriptions_per_connection allows",
                1,
            ));
        }
        self.state.rates.take(Kind::Open, &self.principal, &self.state.in_force.load().limits)?;
        let types = match types {
            None => Ok(Globs::any()),
            Some(TypeList::Text(list)) => Globs::parse(&list),
            Some(TypeList::List(list)) => Globs::from_items(list.iter().map(String::as_str)),
        };
        let types = types.map_err(|e| Problem::field("types", format!("types: {e}; {}", e.hint())))?;
        let after = cursor(after)?;
        let scope = events::scope(&self.principal, tenant)?;
        if !tenant.is_none_or(is_name) {
            return Err(Problem::field("tenant", "tenant must be 1 to 255 bytes without control characters"));
        }
        match &scope {
            Scope::Tenant(tenant) => self.guard.enter(tenant)?,
            Scope::Every => self.guard.enter_all()?,
        }
        let filter = events::filter(&self.principal, &scope, types, subject);
        let request = Request { scope, filter, encoding: Encoding::Ws, after };
        let slow_after = self.state.in_force.load().limits.slow_after;
        let (subscriber, opening) = Subscriber::open(&self.state.router, &self.state.log, request, slow_after).await?;
        if let ([only], None) = (self.subscriptions.as_slice(), &self.sent) {
            let mut sent = Sent::default();
            only.subscriber.sent().into_iter().for_each(|number| _ = sent.first(number));
            self.sent = Some(sent);
        }
        out.push_back(frame(
            &json!({"type": "subscribed", "id": id, "cursor": opening.cursor.to_string(), "resumed": opening.resumed}),
        ));
        // Most connections have one subscription; a Vec would make room for four.
        self.subscriptions.reserve_exact(1);
        self.subscriptions.push(Subscription { id: id.to_owned(), subscriber });
        Ok(())
    }

    /// A fresh token of the same user; subscriptions go on with its rights.
    fn refresh(&mut self, token: &str, out: &mut VecDeque<Bytes>) -> Option<Disconnect> {
        let (limits, shown) = (&self.state.in_force.load().limits, self.state.rates.credential(token));
        let verified = match self.state.rates.patience(self.guard.address, shown, limits) {
            Ok(()) => credential::verify(&self.state, token),
            Err(problem) => Err(problem),
        };
        let principal = match verified {
            Ok(principal) if principal.sub == self.principal.sub => principal,
            Ok(_) => {
                let problem = Problem::forbidden("this token is another user's; open a connection for it");
                return self.refuse(&problem, out);
            }
            Err(problem) => {
                credential::wrong(&self.state, self.guard.address, &problem);
                return self.refuse(&problem, out);
            }
        };
        // A name is one user's only within a tenant.
        let shared = |tenants: &[String]| tenants.iter().any(|tenant| self.principal.may_enter(tenant));
        if !principal.listed().is_none_or(shared) {
            return Some(Disconnect::Forbidden);
        }
        for Subscription { subscriber, .. } in &mut self.subscriptions {
            let tenant = match subscriber.scope() {
                Scope::Tenant(tenant) => Some(tenant.as_str().to_owned()),
                Scope::Every => None,
            };
            match events::scope(&principal, tenant.as_deref()) {
                Ok(scope) => subscriber.set_rights(&events::filter(&principal, &scope, Globs::any(), None)),
                Err(_) => return Some(Disconnect::Forbidden),
            }
        }
        if self.guard.renew(&principal).is_err() {
            return Some(Disconnect::Revoked);
        }
        self.expires_at = expiry(&principal);
        self.principal = principal;
        self.refused = 0;
        out.push_back(frame(&json!({"type": "result", "ok": true, "data": {"expires_at": self.principal.expires_at}})));
        None
    }

    /// Answers a token that changes nothing; too often, and the connection ends.
    fn refuse(&mut self, problem: &Problem, out: &mut VecDeque<Bytes>) -> Option<Disconnect> {
        self.state.metrics.refused(problem.code);
        self.refused += 1;
        out.push_back(error(None, problem.code, problem.message()));
        (self.refused >= REFUSED_MAX).then_some(Disconnect::Unauthorised)
    }

    /// Answers what was not understood; too often, and the connection ends.
    pub fn strike(
        &mut self,
        id: Option<&str>,
        code: &str,
        message: &str,
        out: &mut VecDeque<Bytes>,
    ) -> Option<Disconnect> {
        self.strikes += 1;
        out.push_back(error(id, code, message));
        (self.strikes >= STRIKES_MAX).then_some(Disconnect::Protocol)
    }

    /// The next frames, about a piece of them, or an order to end. Pending while there are none.
    pub fn poll(&mut self, cx: &mut Context<'_>, out: &mut VecDeque<Bytes>) -> Poll<Option<Disconnect>> {
        if let (Some(why), _) = self.guard.control.poll(cx) {
            return Poll::Ready(Some(why));
        }
        // Timers stand still while a machine sleeps: what waits then is not for who has no rights left.
        if unix_now() >= self.principal.expires_at {
            return Poll::Ready(Some(Disconnect::Expired));
        }
        let (before, mut bytes) = (out.len(), 0);
        if let Some(commands) = &mut self.commands {
            let idle = commands.poll(cx, out);
            self.commands.take_if(|_| idle);
        }
        // The steps are bounded, so that a flood of events that it does not show cannot keep the task from its socket.
        for _ in 0..STEPS_MAX {
            if bytes >= PIECE_BYTES {
                break;
            }
            let already = out.len();
            match self.poll_one(cx, out) {
                Poll::Ready(Some(why)) => return Poll::Ready(Some(why)),
                Poll::Ready(None) => bytes += out.iter().skip(already).map(Bytes::len).sum::<usize>(),
                Poll::Pending if out.len() == before => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(None)
    }

    /// The next of one subscription, each in its turn; of several that read the same ring, the one that is furthest behind.
    fn poll_one(&mut self, cx: &mut Context<'_>, out: &mut VecDeque<Bytes>) -> Poll<Option<Disconnect>> {
        let count = self.subscriptions.len();
        for step in 0..count {
            let turn = (self.turn + step) % count;
            let behind = |index: usize, other: usize| {
                self.subscriptions[other].subscriber.is_behind(&self.subscriptions[index].subscriber)
            };
            let index = (0..count).fold(turn, |index, other| if behind(index, other) { other } else { index });
            if let Poll::Ready(delivery) = self.subscriptions[index].subscriber.poll_delivery(cx, self.sent.as_mut()) {
                self.turn = index + 1;
                return Poll::Ready(self.deliver(index, delivery, out));
            }
        }
        Poll::Pending
    }

    fn deliver(&mut self, index: usize, delivery: Delivery, out: &mut VecDeque<Bytes>) -> Option<Disconnect> {
        match delivery {
            Delivery::Events(_, 0, _) => None,
            Delivery::Events(pieces, count, oldest) => {
                self.beat_at = Instant::now() + self.state.settings.heartbeat;
                self.delivered.inc_by(count);
                oldest.iter().for_each(|event| self.state.metrics.latency.delivered(event));
                out.extend(pieces);
                None
            }
            Delivery::Reset(why, cursor) => {
                self.state.metrics.reset(why);
                let id = &self.subscriptions[index].id;
                out.push_back(frame(
                    &json!({"type": "reset", "id": id, "reason": why.reason(), "cursor": cursor.to_string()}),
                ));
                None
            }
            Delivery::End(why) => Some(why),
        }
    }

    /// Sends heartbeats, or ends the connection with its credential.
    pub fn beat(&mut self, now_s: u64, out: &mut VecDeque<Bytes>) -> Option<Disconnect> {
        if now_s >= self.principal.expires_at {
            return Some(Disconnect::Expired);
        }
        self.beat_at = Instant::now() + self.state.settings.heartbeat;
        self.expires_at = expiry(&self.principal);
        let beats: Vec<_> = self.subscriptions.iter_mut().map(|s| (s.id.clone(), s.subscriber.heartbeat())).collect();
        match beats.as_slice() {
            [] => out.push_back(frame(&json!({"type": "heartbeat"}))),
            beats => out.extend(beats.iter().map(|(id, cursor)| match cursor {
                Some(cursor) => frame(&json!({"type": "heartbeat", "id": id, "cursor": cursor.to_string()})),
                None => frame(&json!({"type": "heartbeat", "id": id})),
            })),
        }
        None
    }
}

fn expiry(principal: &Principal) -> Instant {
    Instant::now() + Duration::from_secs(principal.expires_at.saturating_sub(unix_now()))
}

fn frame(message: &Value) -> Bytes {
    text_frame(&[message.to_string().as_bytes()])
}

fn error(id: Option<&str>, code: &str, message: &str) -> Bytes {
    let mut body = json!({"type": "error", "code": code, "message": message});
    if let Some(id) = id {
        body["id"] = id.into();
    }
    frame(&body)
}

/// By which the client knows what is answered, where there is one.
fn id_of(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(value.get("id")?.as_str()?.to_owned())
}

/// What is wrong with a message, without quoting it.
fn explain(text: &str, error: &serde_json::Error) -> (&'static str, String) {
    let known = ["subscribe", "unsubscribe", "ping", "auth", "command"];
    match serde_json::from_str::<Value>(text) {
        Err(_) => ("bad_json", format!("this is not JSON (column {})", error.column())),
        Ok(value) => match value.get("type").and_then(Value::as_str) {
            Some(kind) if known.contains(&kind) => (
                "bad_message",
                format!("this {kind} message lacks a field, or has one that is unknown or of another type"),
            ),
            _ => ("unknown_type", "type must be subscribe, unsubscribe, ping, auth or command".into()),
        },
    }
}
