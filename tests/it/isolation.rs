//! Nothing of one tenant reaches another, and nothing for one user reaches anybody but them and their tenant's admins:
//! live, replayed from the ring and from the log, in pages.

mod connections;
mod names;
mod people;
mod routes;
mod rows;
mod site;
mod sockets;

use serde_json::{Value, json};

use crate::support::{Bridge, Database, Sse, Ws, admin, events_of, get_page, member, token};

/// One caller with one filter, on every transport at once.
struct Watcher {
    token: String,
    /// None: all tenants.
    tenant: Option<&'static str>,
    query: &'static str,
    before: String,
    sse: Sse,
    ws: Ws,
}

impl Watcher {
    async fn new(bridge: &Bridge, token: String, tenant: Option<&'static str>, query: &'static str) -> Self {
        let path = path(tenant);
        let (status, page) = bridge.get_as(&token, &format!("{path}?limit=1000")).await;
        assert_eq!((status, &page["events"]), (200, &json!([])));
        let sse = Sse::at(bridge, &token, &format!("{path}?{query}"), None).await;
        let ws = socket(bridge, &token, tenant, query, None).await;
        Self { token, tenant, query, before: page["cursor"].as_str().unwrap().to_owned(), sse, ws }
    }

    /// Subjects of what was shown up to the sentinel: the same live, replayed by this bridge and by one that knows only
    /// the log, and paged.
    async fn saw(mut self, bridge: &Bridge, fresh: &Bridge) -> Vec<String> {
        let (live, path) = (self.sse.until_sentinel().await, path(self.tenant));
        assert_eq!(self.ws.until_sentinel().await, live);
        for bridge in [bridge, fresh] {
            let after = format!("{path}?after={}&limit=1000&{}", self.before, self.query);
            assert_eq!(Sse::at(bridge, &self.token, &after, None).await.until_sentinel().await, live);
            let mut ws = socket(bridge, &self.token, self.tenant, self.query, Some(&self.before)).await;
            assert_eq!(ws.until_sentinel().await, live);
            let (_, page) = bridge.get_as(&self.token, &after).await;
            let mut paged = page["events"].as_array().unwrap().clone();
            paged.retain(|event| event["type"] != "sentinel");
            assert_eq!(paged, live);
        }
        events_of(&live).into_iter().map(|(_, subject)| subject).collect()
    }
}

fn path(tenant: Option<&str>) -> String {
    tenant.map_or("/v1/events".into(), |tenant| format!("/v1/tenants/{tenant}/events"))
}

async fn socket(bridge: &Bridge, token: &str, tenant: Option<&str>, query: &str, after: Option<&str>) -> Ws {
    let mut ws = Ws::connect(bridge, token).await;
    let mut subscribe = json!({"type": "subscribe", "id": "s"});
    let more = [("tenant", tenant), ("after", after)];
    let filters = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), Value::from(value)));
    let fields = more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    subscribe.as_object_mut().unwrap().extend(filters.chain(fields));
    ws.send(&subscribe).await;
    let answer = ws.frame().await.unwrap();
    assert_eq!((&answer["type"], &answer["resumed"]), (&"subscribed".into(), &after.is_some().into()), "{answer}");
    ws
}

fn user(sub: &str, tenant: &str) -> String {
    token(json!({"sub": sub, "tenant": tenant}))
}

/// Publishes in one transaction: tenant, type, subject, audience.
async fn emit(db: &Database, events: &[(&str, &str, &str, Option<&str>)]) {
    let quoted = |audience: &Option<&str>| audience.map_or("null".into(), |audience| format!("'{audience}'"));
    let calls = events.iter().map(|(tenant, kind, subject, audience)| {
        format!("select tidings.emit('{tenant}', '{kind}', '{{}}', '{subject}', {});", quoted(audience))
    });
    db.run(&format!("begin; {} commit", calls.collect::<String>())).await;
}

#[tokio::test]
async fn tenants_that_write_in_one_transaction_see_their_own_changes_only() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let acme = Watcher::new(&bridge, member("acme"), Some("acme"), "").await;
    let globex = Watcher::new(&bridge, member("globex"), Some("globex"), "").await;
    db.run(
        "begin;
         insert into documents (id, tenant_id, name) values ('a1', 'acme', 'x'), ('g1', 'globex', 'x'), ('a2', 'acme', 'x');
         insert into notifications (id, tenant_id, type, title, message) values ('g2', 'globex', 'n', 'T', 'M');
         update documents set name = 'y'; delete from documents where tenant_id = 'globex'; commit",
    )
    .await;
    db.sentinel("acme").await;
    db.sentinel("globex").await;
    let fresh = Bridge::start(&db).await;
    assert_eq!(acme.saw(&bridge, &fresh).await, ["a1", "a2", "a1", "a2"]);
    assert_eq!(globex.saw(&bridge, &fresh).await, ["g1", "g2", "g1", "g1"]);
}

#[tokio::test]
async fn an_admin_sees_all_tenants_or_those_of_the_claim() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let listed = token(json!({"sub": "lea", "role": "admin", "tenant": ["acme", "initech"]}));
    let one = token(json!({"sub": "ona", "role": "admin", "tenant": "acme"}));
    let all = Watcher::new(&bridge, admin(), None, "").await;
    let listed = Watcher::new(&bridge, listed, None, "").await;
    let one = Watcher::new(&bridge, one, None, "").await;
    let notes = [
        ("acme", "n", "1", None),
        ("globex", "n", "2", None),
        ("initech", "n", "3", Some("ira")),
        ("globex", "n", "4", Some("gus")),
    ];
    emit(&db, &notes).await;
    db.sentinel("acme").await;
    let fresh = Bridge::start(&db).await;
    assert_eq!(all.saw(&bridge, &fresh).await, ["1", "2", "3", "4"]);
    assert_eq!(listed.saw(&bridge, &fresh).await, ["1", "3"]);
    assert_eq!(one.saw(&bridge, &fresh).await, ["1"]);
}

#[tokio::test]
async fn events_of_all_tenants_are_refused_to_members_and_services() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    for role in ["member", "service", "Admin"] {
        let token = token(json!({"sub": "ann", "tenant": ["acme", "globex"], "role": role}));
        for accept in ["application/json", "text/event-stream"] {
            let request = reqwest::Client::new().get(bridge.url("/v1/events")).header("accept", accept);
            assert_eq!(request.bearer_auth(&token).send().await.unwrap().status(), 403, "{role} {accept}");
        }
        let mut ws = Ws::connect(&bridge, &token).await;
        ws.send(&json!({"type": "subscribe", "id": "s"})).await;
        assert_eq!(ws.frame().await.unwrap()["code"], "forbidden", "{role}");
    }
}

#[tokio::test]
async fn another_tenant_is_refused_on_every_transport_and_the_socket_goes_on() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let service = token(json!({"sub": "bot", "tenant": "acme", "role": "service"}));
    let listed = token(json!({"sub": "lea", "tenant": "acme", "role": "admin"}));
    for token in [member("acme"), service, listed] {
        for accept in ["application/json", "text/event-stream"] {
            let request = reqwest::Client::new().get(bridge.url("/v1/tenants/globex/events")).header("accept", accept);
            assert_eq!(request.bearer_auth(&token).send().await.unwrap().status(), 403);
        }
        let event = json!({"type": "n"});
        assert_eq!(bridge.post_as(&token, "/v1/tenants/globex/events", &event).await.0, 403);
        let document = json!({"name": "x"});
        assert_eq!(bridge.post_as(&token, "/v1/tenants/globex/documents", &document).await.0, 403);
        let mut ws = Ws::connect(&bridge, &token).await;
        let refused = ws.subscribe("g", "globex", json!({})).await;
        assert_eq!(
            (&refused["type"], &refused["id"], &refused["code"]),
            (&"error".into(), &"g".into(), &"forbidden".into())
        );
        assert_eq!(ws.subscribe("a", "acme", json!({})).await["type"], "subscribed");
        emit(&db, &[("globex", "n", "1", None), ("acme", "n", "2", None)]).await;
        assert_eq!(ws.next().await["subject"], "2");
    }
}

#[tokio::test]
async fn an_event_for_one_user_reaches_them_and_their_admins_and_nobody_else() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let service = token(json!({"sub": "bot", "tenant": "acme", "role": "service"}));
    let listed = token(json!({"sub": "lea", "tenant": "acme", "role": "admin"}));
    let foreign_admin = token(json!({"sub": "fia", "tenant": "globex", "role": "admin"}));
    let mut watchers = Vec::new();
    for (token, tenant, expected) in [
        (user("ann", "acme"), "acme", vec!["1", "2", "4", "5", "7"]),
        (user("bob", "acme"), "acme", vec!["1", "3", "4", "6", "7"]),
        (user("Ann", "acme"), "acme", vec!["1", "4", "7"]),
        (service, "acme", vec!["1", "4", "7"]),
        (listed, "acme", vec!["1", "2", "3", "4", "5", "6", "7"]),
        (admin(), "acme", vec!["1", "2", "3", "4", "5", "6", "7"]),
        (user("ann", "globex"), "globex", vec!["9"]),
        (foreign_admin, "globex", vec!["8", "9"]),
    ] {
        watchers.push((Watcher::new(&bridge, token, Some(tenant), "").await, expected));
    }
    let (ann, bob) = (Some("ann"), Some("bob"));
    let mut events =
        vec![("acme", "n", "1", None), ("acme", "n", "2", ann), ("acme", "n", "3", bob), ("acme", "n", "4", None)];
    events.extend([("acme", "n", "5", ann), ("globex", "n", "8", Some("gus")), ("acme", "n", "6", bob)]);
    events.extend([("acme", "n", "7", None), ("globex", "n", "9", None)]);
    emit(&db, &events).await;
    db.sentinel("acme").await;
    db.sentinel("globex").await;
    let fresh = Bridge::start(&db).await;
    for (watcher, expected) in watchers {
        assert_eq!(watcher.saw(&bridge, &fresh).await, expected);
    }
}

#[tokio::test]
async fn a_burst_of_public_and_private_events_keeps_its_order_for_everybody() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = Watcher::new(&bridge, user("ann", "acme"), Some("acme"), "").await;
    let bob = Watcher::new(&bridge, user("bob", "acme"), Some("acme"), "").await;
    let root = Watcher::new(&bridge, admin(), Some("acme"), "").await;
    // Runs of public events, which are joined for all who want everything, with private ones at their edges.
    db.run(
        "select tidings.emit('acme', 'n', json_build_object('pad', repeat('x', 700))::jsonb, i::text,
                  case when i % 7 in (1, 2) then 'ann' when i % 11 = 3 then 'bob' end)
           from generate_series(1, 900) i",
    )
    .await;
    db.sentinel("acme").await;
    let fresh = Bridge::start(&db).await;
    let expected = |hidden: &dyn Fn(&u32) -> bool| -> Vec<String> {
        (1..=900).filter(|i| !hidden(i)).map(|i| i.to_string()).collect()
    };
    let for_ann = |i: &u32| matches!(i % 7, 1 | 2);
    assert_eq!(ann.saw(&bridge, &fresh).await, expected(&|i| !for_ann(i) && i % 11 == 3));
    assert_eq!(bob.saw(&bridge, &fresh).await, expected(&for_ann));
    assert_eq!(root.saw(&bridge, &fresh).await, expected(&|_| false));
}

#[tokio::test]
async fn a_row_that_changes_hands_is_deleted_for_one_and_inserted_for_the_other() {
    let db = Database::new().await;
    db.run("create table notes (id text primary key, firm text, who text); select tidings.watch('notes', 'firm', audience => 'who')").await;
    let bridge = Bridge::start(&db).await;
    let mut ann = Sse::open(&bridge, &user("ann", "acme"), "acme", "").await;
    let mut bob = Sse::open(&bridge, &user("bob", "acme"), "acme", "").await;
    db.run("insert into notes values ('1', 'acme', 'ann'); update notes set who = 'bob'; update notes set who = null")
        .await;
    db.sentinel("acme").await;
    let kinds = |events: Vec<Value>| -> Vec<String> { events_of(&events).into_iter().map(|(kind, _)| kind).collect() };
    assert_eq!(kinds(ann.until_sentinel().await), ["notes.inserted", "notes.deleted", "notes.inserted"]);
    assert_eq!(kinds(bob.until_sentinel().await), ["notes.inserted", "notes.deleted", "notes.inserted"]);
    let rest = get_page(&bridge, &user("eve", "acme"), "acme", "").await.events;
    assert_eq!(kinds(rest), ["notes.inserted", "sentinel"]);
}

#[tokio::test]
async fn the_events_claim_narrows_and_no_filter_widens_it() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let narrow = |sub: &str, role: &str| {
        token(json!({"sub": sub, "tenant": "acme", "role": role, "events": ["chat.*", "sentinel"]}))
    };
    let plain = Watcher::new(&bridge, narrow("ann", "member"), Some("acme"), "").await;
    let greedy = Watcher::new(&bridge, narrow("bob", "member"), Some("acme"), "types=*,documents.*").await;
    let other = Watcher::new(&bridge, narrow("eve", "member"), Some("acme"), "types=documents.*,*l").await;
    let manager = Watcher::new(&bridge, narrow("lea", "admin"), None, "").await;
    let notes = [
        ("acme", "documents.made", "1", None),
        ("acme", "chat.ended", "2", None),
        ("acme", "chat", "3", None),
        ("acme", "chat.x.y", "4", None),
    ];
    emit(&db, &notes).await;
    db.sentinel("acme").await;
    let fresh = Bridge::start(&db).await;
    assert_eq!(plain.saw(&bridge, &fresh).await, ["2", "4"]);
    assert_eq!(greedy.saw(&bridge, &fresh).await, ["2", "4"]);
    assert_eq!(other.saw(&bridge, &fresh).await, [""; 0]);
    assert_eq!(manager.saw(&bridge, &fresh).await, ["2", "4"]);
}

#[tokio::test]
async fn globs_and_subjects_choose_the_same_events_everywhere() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut watchers = Vec::new();
    for (query, expected) in [
        ("types=documents.*,sentinel", vec!["1", "2"]),
        ("types=*.made,sentinel", vec!["1", "3"]),
        ("types=documents.made, sentinel", vec!["1"]),
        ("types=DOCUMENTS.*,sentinel", vec![]),
        ("types=documents,sentinel", vec![]),
        ("subject=2", vec!["2"]),
        ("subject=2&types=*.made,sentinel", vec![]),
    ] {
        watchers.push((Watcher::new(&bridge, member("acme"), Some("acme"), query).await, expected));
    }
    emit(
        &db,
        &[
            ("acme", "documents.made", "1", None),
            ("acme", "documents.sent", "2", None),
            ("acme", "chats.made", "3", None),
        ],
    )
    .await;
    // A sentinel that a filter on the subject lets through.
    emit(&db, &[("acme", "sentinel", "2", None)]).await;
    let fresh = Bridge::start(&db).await;
    for (watcher, expected) in watchers {
        let query = watcher.query;
        assert_eq!(watcher.saw(&bridge, &fresh).await, expected, "{query}");
    }
}
