//! `POST /v1/webhooks/{source}`: the door of whatever processes documents, cases and the like. No token: a signature.
//!
//! Place: before the road: a delivery calls a function of schema `tidings_app`, whose writes then travel like any others.
//!
//! Invariant: each delivery calls once, however often and wherever at the same time it arrives: its id is noted in the
//! transaction of the call (`two_deliveries_of_one_id_at_once_call_once`). A call that failed is not noted: its sender may
//! try again.

use std::sync::{Arc, LazyLock};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio_postgres::IsolationLevel;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::application;
use crate::config::Inbound;
use crate::decode;
use crate::event::TenantId;
use crate::http::State;
use crate::http::credential::{self, unix_now};
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};
use crate::http::status::json;
use crate::signature::{Claim, Distrust, WINDOW_S};

/// Stands in for a key that is not there; nobody knows it.
static NO_KEY: LazyLock<[u8; 32]> = LazyLock::new(rand::random);

/// The route.
pub fn routes() -> Vec<Route> {
    vec![route(Method::POST, "/v1/webhooks/{source}", receive)]
}

/// An answer of the function, and whether it was given before.
struct Answer {
    json: Box<RawValue>,
    repeated: bool,
}

async fn receive(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    // As it was sent: configured names need no escaping, and what cannot be one is unknown like any other.
    let name = request.raw(0).to_owned();
    let source = state.settings.inbound.iter().find(|inbound| inbound.name == name);
    let address = request.call.address(&state.in_force.load());
    state.rates.patience(address, 0, &state.in_force.load().limits)?;
    let outcome = deliver(&state, source, &mut request).await;
    if let Err(problem) = &outcome {
        credential::wrong(&state, address, problem);
    }
    let label = match &outcome {
        Ok(Answer { repeated: true, .. }) => "repeated",
        Ok(_) => "done",
        Err(problem) => problem.code,
    };
    // Names that are not configured have one label together: labels are bounded.
    state.metrics.inbound(source.map_or("", |source| &source.name), label);
    Ok(json(StatusCode::OK, &outcome?.json))
}

async fn deliver(state: &State, source: Option<&Inbound>, request: &mut Request) -> Result<Answer, Problem> {
    let call = request.call.clone();
    let claim = Claim::read(|name| call.header(name), unix_now()).map_err(distrusted)?;
    let body = request.bytes(state).await?;
    let key = |n: usize| source.and_then(|source| source.keys.get(n)).map_or(&NO_KEY[..], |key| key.expose());
    let checked = claim.check([key(0), key(1)], &body);
    let (Some(source), Ok(())) = (source, checked) else { return Err(distrusted(Distrust::Wrong)) };
    let answer = take(state, source, claim.id, &body).await;
    match &answer {
        Ok(Answer { repeated, .. }) => tracing::debug!(source = source.name, id = claim.id, repeated, "webhook taken"),
        Err(problem) => {
            let (status, code) = (problem.status.as_u16(), problem.code);
            tracing::info!(source = source.name, id = claim.id, status, code, "webhook refused");
        }
    }
    answer
}

/// A delivery whose signature holds.
async fn take(state: &State, source: &Inbound, id: &str, body: &[u8]) -> Result<Answer, Problem> {
    let json: &RawValue = serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body is not JSON (line {}, column {})", error.line(), error.column());
        Problem::new(StatusCode::BAD_REQUEST, "bad_json", detail)
    })?;
    let tenant = decode::plain::tenant(&source.tenant, json).map_err(|_| {
        let detail = format!("the body must name a tenant at {}, in 1 to 255 bytes", source.tenant);
        Problem::field(source.tenant.clone(), detail)
    })?;
    once(state, source, &tenant, id, body, json.get()).await
}

/// One transaction: the note, the call, its answer. Of two with one id the second waits for the first's note; when that call fails
/// its own follows.
async fn once(
    state: &State,
    source: &Inbound,
    tenant: &TenantId,
    id: &str,
    body: &[u8],
    json: &str,
) -> Result<Answer, Problem> {
    let hash = Sha256::digest(body).to_vec();
    let mut client = state.log.client(Some(tenant)).await?;
    // What another has committed must be seen behind its lock, whatever the database is set to.
    let transaction = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let note = "select known, same, answer from tidings._inbound_note($1, $2, $3)";
    let note = transaction.prepare_cached(note).await?;
    let note = transaction.query_one(&note, &[&source.name, &id, &hash]).await?;
    if note.get("known") {
        if !note.get::<_, bool>("same") {
            let detail = "this webhook-id was delivered before with another body; a new message has a new id";
            return Err(Problem::new(StatusCode::CONFLICT, "webhook_id_reused", detail));
        }
        let json = RawValue::from_string(note.get("answer")).map_err(|_| application::not_json(&source.call))?;
        return Ok(Answer { json, repeated: true });
    }
    let answer = application::call_in(&transaction, tenant, &source.call, "$2::text::jsonb", &[&json]).await;
    let answer = answer.map_err(|problem| not_there(source, problem))?.ok_or_else(|| {
        let detail = "what this delivery is about is not there, or not this tenant's";
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    })?;
    let keep = transaction.prepare_cached("select tidings._inbound_answer($1, $2, $3::text::json)").await?;
    transaction.execute(&keep, &[&source.name, &id, &answer.get()]).await?;
    transaction.commit().await?;
    Ok(Answer { json: answer, repeated: false })
}

/// Names the function that is missing: it is the configuration's, and the other functions may well be there.
fn not_there(source: &Inbound, problem: Problem) -> Problem {
    if problem.code != "no_application" {
        return problem;
    }
    tracing::warn!(
        source = source.name,
        call = source.call,
        "the function of [[inbound]] does not work in this database"
    );
    let detail = format!(
        "this database has no function tidings_app.{}(tenant text, body jsonb), or it calls one that is not there",
        source.call
    );
    Problem::new(StatusCode::NOT_IMPLEMENTED, "no_application", detail)
}

fn distrusted(why: Distrust) -> Problem {
    let (code, detail) = match why {
        Distrust::Missing => (
            "signature_missing",
            "sign deliveries as Standard Webhooks has it: webhook-id of at most 255 bytes, webhook-timestamp, webhook-signature".to_owned(),
        ),
        Distrust::Outside => (
            "timestamp_outside",
            format!("webhook-timestamp must be seconds since 1970, within {WINDOW_S} s of this server's clock; sign each attempt anew"),
        ),
        Distrust::Wrong => (
            "signature_wrong",
            "no key of this source made any signature v1,<base64> over id.timestamp.body; check address, secret and that the body is sent as signed".to_owned(),
        ),
    };
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
}
