//! Notifications of a tenant, with each user's own read and archive state.
//!
//! Invariant: what one user reads is unread to everybody else (`what_one_user_reads_stays_unread_for_all_others`), and the count of unread
//! ones is exact whoever writes and reads meanwhile (`the_count_of_unread_notifications_is_right_whoever_writes_and_marks_meanwhile`).
//!
//! Why two functions for one list: `notifications` is what applications have written for their own tables, and takes no more than it did.
//! What came later, only the archive and chosen types, is asked of `notifications_of`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json as object;
use serde_json::value::{RawValue, to_raw_value};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::application::{self, Object};
use super::changes::{After, Changes, is_place, visible};
use super::fields::Fields;
use super::polling;
use crate::auth::{GlobError, Globs};
use crate::event::TenantId;
use crate::http::State;
use crate::http::call::{Call, key};
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};
use crate::http::status::json;

/// Of one list.
const LIMIT_MAX: u64 = 100;
/// What a notification centre shows when it opens.
const LIMIT: u64 = 10;
/// A line, and some paragraphs.
const TITLE_BYTES_MAX: usize = 255;
const MESSAGE_BYTES_MAX: usize = 8192;
/// The year 1: PostgreSQL spells earlier ones otherwise, and nothing was created before.
const EARLIEST_US: i64 = -62_135_596_800_000_000;

/// Below `/v1/tenants/{tenant}`.
pub fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/tenants/{tenant}/notifications", list),
        route(Method::POST, "/v1/tenants/{tenant}/notifications", create),
        route(Method::GET, "/v1/tenants/{tenant}/notifications/counts", counts),
        route(Method::POST, "/v1/tenants/{tenant}/notifications/seen", seen),
        route(Method::POST, "/v1/tenants/{tenant}/notifications/read-all", read_all),
        route(Method::PATCH, "/v1/tenants/{tenant}/notifications/{id}", mark),
    ]
}

/// What `GET notifications` asks for.
struct Query {
    cursor: Option<crate::cursor::Cursor>,
    since_us: Option<i64>,
    place: Option<String>,
    unread: bool,
    archive: Archive,
    types: Option<Globs>,
    limit: u64,
}

/// Whether what the user has archived is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Archive {
    Without,
    With,
    Only,
}

impl Query {
    fn read(call: &Call) -> Result<Self, Problem> {
        let mut query = Self {
            cursor: None,
            since_us: None,
            place: call.query("before").map(str::to_owned),
            unread: flag(call, "unread")?,
            archive: match call.query("archived") {
                Some("only") => Archive::Only,
                None | Some("false" | "0") => Archive::Without,
                Some("true" | "1") => Archive::With,
                Some(_) => return Err(Problem::field("archived", "archived must be true, false or only")),
            },
            types: types(call)?,
            limit: call.number("limit", LIMIT, 1..=LIMIT_MAX)?,
        };
        let since = call.query("since").unwrap_or_default();
        // A day first: it could be read as the id of an event, of a transaction so early that it is PostgreSQL's own.
        query.since_us = day(since).transpose()?;
        match After::read(call, "since") {
            _ if query.since_us.is_some() => {}
            Some(After::Start) => {}
            Some(After::Cursor(cursor)) => query.cursor = Some(cursor),
            Some(After::Place(place)) => query.place = query.place.or(Some(place)),
            None => query.since_us = Some(time(since)?),
        }
        if query.place.as_deref().is_some_and(|place| !is_place(place)) {
            return Err(Problem::field("before", "before must be the next of an earlier page"));
        } else if query.cursor.is_some() && query.place.is_some() {
            return Err(Problem::field(
                "before",
                "before goes back in the list; what changed since a cursor has no pages to go back in",
            ));
        }
        Ok(query)
    }
}

/// The beginning of a day in UTC, where the text is shaped like one: 2026-11-20.
fn day(text: &str) -> Option<Result<i64, Problem>> {
    let digits = |(at, b): (usize, u8)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() };
    let shaped = text.len() == 10 && text.bytes().enumerate().all(digits);
    shaped.then(|| time(&format!("{text}T00:00:00Z")))
}

/// Microseconds since 1970. A space is a `+` that was not encoded.
fn time(text: &str) -> Result<i64, Problem> {
    let at: Timestamp = text.replace(' ', "+").parse().map_err(|_| {
        let detail = "since must be a cursor, a time with its offset such as 2026-11-20T14:57:31Z, or a day";
        Problem::field("since", detail)
    })?;
    Ok(at.as_microsecond().max(EARLIEST_US))
}

/// Globs over the types of notifications; none where each type will do.
fn types(call: &Call) -> Result<Option<Globs>, Problem> {
    let Some(text) = call.query("types") else { return Ok(None) };
    let refused = |error: GlobError| Problem::field("types", format!("types: {error}; {}", error.hint()));
    let globs = Globs::parse(text).map_err(refused)?;
    Ok(Some(globs).filter(|globs| !globs.is_any()))
}

fn flag(call: &Call, name: &'static str) -> Result<bool, Problem> {
    match call.query(name) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(Problem::field(name, format!("{name} must be true or false"))),
    }
}

/// `GET notifications?since&before&unread&archived&types&limit`: newest first; with a cursor in `since`, those that came after it.
async fn list(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "notifications")?;
    let mut query = Query::read(&request.call)?;
    let changes = match query.cursor.take() {
        Some(cursor) => {
            let limit = query.limit as usize;
            Some(Changes::since(&state, &principal, &tenant, "notifications", cursor, limit).await?)
        }
        None => None,
    };
    let ids = changes.as_ref().map(|changes| changes.ids.as_slice());
    let mut found = match query.is_of_the_first_kind() {
        true => query.ask(&state, &tenant, &principal.sub, ids).await?,
        false => query.ask_with_filter(&state, &tenant, &principal.sub, ids).await?,
    };
    if let Some(list) = found.get("notifications") {
        let list = all_with_seen(list).map_err(|_| application::not_json("notifications"))?;
        found.extend(list.map(|list| ("notifications".to_owned(), list)));
    }
    let found = match &changes {
        Some(changes) => changes.answer(found, "notifications"),
        None => found,
    };
    Ok(polling::answer(&request.call, found, polling::QUIET_MS))
}

impl Query {
    /// Whether the list that applications have always had can answer it.
    fn is_of_the_first_kind(&self) -> bool {
        self.archive != Archive::Only && self.types.is_none()
    }

    fn limit(&self) -> i32 {
        i32::try_from(self.limit).unwrap_or(i32::MAX)
    }

    async fn ask(
        &self,
        state: &State,
        tenant: &TenantId,
        sub: &str,
        ids: Option<&[String]>,
    ) -> Result<Object, Problem> {
        let archived = self.archive == Archive::With;
        let arguments = "$2, $3, 'epoch'::timestamptz + $4::bigint * interval '1 microsecond', $5, $6, $7, $8";
        let found = application::object(
            state,
            tenant,
            "notifications",
            arguments,
            &[&sub, &ids, &self.since_us, &self.unread, &archived, &self.place, &self.limit()],
        )
        .await?;
        Ok(found.unwrap_or_default())
    }

    async fn ask_with_filter(
        &self,
        state: &State,
        tenant: &TenantId,
        sub: &str,
        ids: Option<&[String]>,
    ) -> Result<Object, Problem> {
        let since = self.since_us.and_then(|us| Timestamp::from_microsecond(us).ok());
        let filter = object!({
            "ids": ids,
            "since": since.map(|at| at.to_string()),
            "unread": self.unread,
            "archived": match self.archive {
                Archive::Without => object!(false),
                Archive::With => object!(true),
                Archive::Only => object!("only"),
            },
            "types": self.types.as_ref().map(|globs| globs.iter().collect::<Vec<_>>()),
        });
        let found = application::object(
            state,
            tenant,
            "notifications_of",
            "$2, $3::text::json, $4, $5",
            &[&sub, &filter.to_string(), &self.place, &self.limit()],
        )
        .await?;
        Ok(found.unwrap_or_default())
    }
}

/// A list whose notifications all say whether they were seen. Functions that an application wrote before there was such a member do
/// not say it: then what is read was seen, and no more is known. None where nothing is to be added.
fn all_with_seen(list: &RawValue) -> serde_json::Result<Option<Box<RawValue>>> {
    let mut rows: Vec<Object> = serde_json::from_str(list.get())?;
    if rows.iter().all(|row| row.contains_key("seen")) {
        return Ok(None);
    }
    for row in &mut rows {
        if let (None, Some(read)) = (row.get("seen"), row.get("read")) {
            row.insert("seen".to_owned(), read.clone());
        }
    }
    to_raw_value(&rows).map(Some)
}

/// One notification, which says whether it was seen; where the function does not, as given.
fn with_seen(notification: &RawValue, otherwise: bool) -> serde_json::Result<Object> {
    let mut members: Object = serde_json::from_str(notification.get())?;
    if !members.contains_key("seen") {
        members.insert("seen".to_owned(), to_raw_value(&otherwise)?);
    }
    Ok(members)
}

/// `GET notifications/counts`: what the tabs of a notification centre show.
async fn counts(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "notifications")?;
    let found = application::object(&state, &tenant, "notification_counts", "$2", &[&principal.sub]).await?;
    let found = found.ok_or_else(|| application::not_json("notification_counts"))?;
    Ok(polling::answer(&request.call, found, polling::QUIET_MS))
}

/// `POST notifications/seen`: all that there are, by the one who asks; what the body says, if there is one, is nothing to us.
async fn seen(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "notifications")?;
    let done = application::call(&state, &tenant, "mark_all_notifications_seen", "$2", &[&principal.sub]).await?;
    Ok(json(StatusCode::OK, &done))
}

/// `POST notifications`: for services and admins, or any member could write in the name of the house.
async fn create(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    if !principal.may_publish(tenant.as_str()) {
        return Err(Problem::forbidden("creating notifications is for the roles service and admin"));
    }
    let mut fields = Fields::of(&mut request, &state).await?;
    let kind = fields.required("type", 64)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if !kind.starts_with(|c: char| c.is_ascii_lowercase()) || !kind.chars().all(allowed) {
        return Err(Problem::field("type", "type must be 1 to 64 of a-z 0-9 . _ - and begin with a letter"));
    }
    let (title, message) = (fields.required("title", TITLE_BYTES_MAX)?, fields.required("message", MESSAGE_BYTES_MAX)?);
    let metadata = fields.object("metadata")?;
    fields.end()?;
    let metadata = metadata.as_ref().map(|json| json.get());
    let created = application::call(
        &state,
        &tenant,
        "create_notification",
        "$2, $3, $4, $5, $6::text::jsonb",
        &[&principal.sub, &kind, &title, &message, &metadata],
    )
    .await
    .map_err(|problem| problem.blame("metadata"))?
    .ok_or_else(|| application::not_json("create_notification"))?;
    let created = with_seen(&created, false).map_err(|_| application::not_json("create_notification"))?;
    Ok(json(StatusCode::CREATED, &created))
}

/// `PATCH notifications/{id} {read?, archived?}`.
async fn mark(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "notifications")?;
    let mut fields = Fields::of(&mut request, &state).await?;
    let (read, archived) = (fields.flag("read")?, fields.flag("archived")?);
    fields.end()?;
    if read.is_none() && archived.is_none() {
        return Err(Problem::field("read", "read or archived must be given"));
    }
    let none = || Problem::new(StatusCode::NOT_FOUND, "not_found", "this tenant has no notification with this id");
    let id = key(request.raw(1)).map_err(|_| none())?;
    let marked = application::call(
        &state,
        &tenant,
        "mark_notification",
        "$2, $3, $4, $5",
        &[&principal.sub, &id, &read, &archived],
    )
    .await?
    .ok_or_else(none)?;
    // Whoever marks one has seen it.
    let marked = with_seen(&marked, true).map_err(|_| application::not_json("mark_notification"))?;
    Ok(json(StatusCode::OK, &marked))
}

/// `POST notifications/read-all`; what the body says, if there is one, is nothing to us.
async fn read_all(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "notifications")?;
    let done = application::call(&state, &tenant, "mark_all_notifications_read", "$2", &[&principal.sub]).await?;
    Ok(json(StatusCode::OK, &done))
}
