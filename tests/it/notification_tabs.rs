//! What a notification centre shows above its list: what is new to a user, and how many each tab has. The same in every layout.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tidings::migrate::{Layout, Wishes, migrate};

use crate::layout::{Stand, each, stands};
use crate::support::{Bridge, Database, Sse, token};

const NOTIFICATIONS: &str = "/v1/tenants/acme/notifications";

fn user(sub: &str) -> String {
    token(json!({"sub": sub, "tenant": "acme"}))
}

async fn get(bridge: &Bridge, sub: &str, rest: &str) -> Value {
    let (status, found) = bridge.get_as(&user(sub), &format!("{NOTIFICATIONS}{rest}")).await;
    assert_eq!(status, 200, "{rest}: {found}");
    found
}

async fn counts(bridge: &Bridge, sub: &str) -> Value {
    get(bridge, sub, "/counts").await["counts"].clone()
}

async fn open_the_bell(bridge: &Bridge, sub: &str) -> Value {
    let (status, done) = bridge.post_as(&user(sub), &format!("{NOTIFICATIONS}/seen"), &json!({})).await;
    assert_eq!(status, 200, "{done}");
    done
}

async fn notify(stand: &Stand, kind: &str) {
    stand.db.answer(&format!("create_notification('acme', 'ann', '{kind}', 'Title', 'Message', null)")).await;
}

/// What the lists show, counted.
async fn shown(bridge: &Bridge, sub: &str) -> Value {
    let list =
        |rest: &'static str| async move { get(bridge, sub, rest).await["notifications"].as_array().unwrap().clone() };
    let (all, every) = (list("?limit=100").await, list("?limit=100&archived=true").await);
    let unseen = every.iter().filter(|row| row["seen"] == false).count();
    let unread = list("?limit=100&unread=true").await;
    assert!(every.iter().all(|row| row["seen"] == true || row["read"] == false), "read and not seen: {every:?}");
    let archived = list("?limit=100&archived=only").await;
    assert!(archived.iter().all(|row| row["archived"] == true) && unread.iter().all(|row| row["read"] == false));
    json!({"all": all.len(), "unread": unread.len(), "unseen": unseen, "archived": archived.len(),
        "documents": list("?limit=100&types=document_*").await.len()})
}

#[tokio::test]
async fn counts_are_those_of_the_lists_whatever_is_marked_in_whatever_order() {
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for stand in stands().await {
        let bridge = Bridge::start(&stand.db).await;
        for step in 0..60 {
            let sub = if random.random() { "ann" } else { "bob" };
            match random.random_range(0..10) {
                0..3 => notify(&stand, if random.random() { "document_processed" } else { "documents" }).await,
                3 => drop(open_the_bell(&bridge, sub).await),
                4 if step % 3 == 0 => {
                    bridge.post_as(&user(sub), &format!("{NOTIFICATIONS}/read-all"), &json!({})).await;
                }
                _ => {
                    let ids = each(&get(&bridge, sub, "?limit=100&archived=true").await["notifications"], "id");
                    let Some(id) = ids.get(random.random_range(0..ids.len().max(1))) else { continue };
                    let state: bool = random.random();
                    let body = if random.random() { json!({"read": state}) } else { json!({"archived": state}) };
                    let path = format!("{NOTIFICATIONS}/{id}");
                    let (status, marked) = bridge.send_as(&user(sub), "PATCH", &path, &body).await;
                    assert_eq!(status, 200, "seed {seed}: {marked}");
                }
            }
            for sub in ["ann", "bob"] {
                let (counted, shown) = (counts(&bridge, sub).await, shown(&bridge, sub).await);
                assert_eq!(counted, shown, "{}, seed {seed}, step {step}, {sub}", stand.name);
            }
        }
    }
}

#[tokio::test]
async fn what_one_user_has_seen_is_new_to_all_others_and_of_another_tenant_nothing_is_counted() {
    for stand in stands().await {
        let bridge = Bridge::start(&stand.db).await;
        for kind in ["news", "document_failed", "news"] {
            notify(&stand, kind).await;
        }
        let fresh = json!({"all": 3, "unread": 3, "unseen": 3, "archived": 0, "documents": 1});
        assert_eq!(counts(&bridge, "ann").await, fresh, "{}", stand.name);
        let done = open_the_bell(&bridge, "ann").await;
        let seen = json!({"all": 3, "unread": 3, "unseen": 0, "archived": 0, "documents": 1});
        assert_eq!((&done["seen"], &done["counts"], done["cursor"].is_string()), (&json!(3), &seen, true));
        assert_eq!((counts(&bridge, "ann").await, counts(&bridge, "bob").await), (seen, fresh));
        let gus = token(json!({"sub": "gus", "tenant": "globex"}));
        let (_, theirs) = bridge.get_as(&gus, "/v1/tenants/globex/notifications/counts").await;
        assert_eq!(theirs["counts"]["all"], 0, "{theirs}");
        let (_, done) = bridge.post_as(&gus, "/v1/tenants/globex/notifications/seen", &json!({})).await;
        assert_eq!(done["seen"], 0);
        assert_eq!(bridge.get_as(&gus, &format!("{NOTIFICATIONS}/counts")).await.0, 403);
    }
}

#[tokio::test]
async fn opening_the_bell_is_told_to_the_users_other_windows_once() {
    for stand in stands().await {
        let bridge = Bridge::start(&stand.db).await;
        let mut anns = Sse::open(&bridge, &user("ann"), "acme", "?types=notifications.seen,sentinel").await;
        let mut bobs = Sse::open(&bridge, &user("bob"), "acme", "?types=notifications.seen,sentinel").await;
        notify(&stand, "news").await;
        for _ in 0..2 {
            open_the_bell(&bridge, "ann").await;
        }
        stand.db.sentinel("acme").await;
        let told = anns.until_sentinel().await;
        assert_eq!(told.len(), 1, "{}: {told:?}", stand.name);
        assert_eq!((&told[0]["audience"], &told[0]["data"]), (&json!("ann"), &json!({"id": null, "seen": true})));
        assert!(bobs.until_sentinel().await.is_empty());
    }
}

#[tokio::test]
async fn what_was_seen_stays_seen_when_it_becomes_unread_and_marking_one_sees_it() {
    for stand in stands().await {
        let bridge = Bridge::start(&stand.db).await;
        notify(&stand, "news").await;
        let id = each(&get(&bridge, "ann", "").await["notifications"], "id").remove(0);
        for (body, read) in [(json!({"read": true}), true), (json!({"read": false}), false)] {
            let path = format!("{NOTIFICATIONS}/{id}");
            let (_, marked) = bridge.send_as(&user("ann"), "PATCH", &path, &body).await;
            assert_eq!((&marked["seen"], &marked["read"]), (&json!(true), &json!(read)), "{}", stand.name);
            let listed = get(&bridge, "ann", "").await["notifications"][0].clone();
            assert_eq!((&listed["seen"], &listed["read"]), (&json!(true), &json!(read)), "{}", stand.name);
        }
        assert_eq!(open_the_bell(&bridge, "ann").await["seen"], 0, "and there is nothing left to see");
    }
}

#[tokio::test]
async fn the_archive_and_chosen_types_have_pages_and_changes_like_the_whole_list() {
    for stand in stands().await {
        let bridge = Bridge::start(&stand.db).await;
        let cursor = get(&bridge, "ann", "").await["cursor"].as_str().unwrap().to_owned();
        for n in 0..14 {
            notify(&stand, ["document_processed", "news", "documents"][n % 3]).await;
        }
        // By what stands there: rows of one moment are in the order of their ids.
        let rows = get(&bridge, "ann", "?limit=100").await["notifications"].as_array().unwrap().clone();
        let ids: Vec<String> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        for id in ids.iter().step_by(2) {
            stand.db.answer(&format!("mark_notification('acme', 'ann', '{id}', null, true)")).await;
        }
        let among = |archived: &[bool], kinds: &[&str]| {
            let kind = |n: usize| kinds.is_empty() || kinds.contains(&rows[n]["type"].as_str().unwrap());
            (0..rows.len()).filter(|n| archived.contains(&n.is_multiple_of(2)) && kind(*n)).count()
        };
        for (query, expected) in [
            ("archived=only".to_owned(), among(&[true], &[])),
            ("types=document_*".to_owned(), among(&[false], &["document_processed"])),
            (
                "archived=true&types=document_*,documents".to_owned(),
                among(&[true, false], &["document_processed", "documents"]),
            ),
            ("archived=only&types=documents".to_owned(), among(&[true], &["documents"])),
            ("types=%25,_".to_owned(), 0),
            (format!("archived=only&since={cursor}"), 7),
            (format!("archived=true&types=news&since={cursor}"), 5),
            ("archived=only&since=2000-01-01".to_owned(), 7),
            ("archived=only&since=2999-01-01".to_owned(), 0),
            ("unread=true&archived=only".to_owned(), 0),
        ] {
            let whole = each(&get(&bridge, "ann", &format!("?limit=100&{query}")).await["notifications"], "id");
            let sorted: Vec<_> = ids.iter().filter(|id| whole.contains(id)).cloned().collect();
            assert_eq!((whole.len(), &whole), (expected, &sorted), "{} {query}", stand.name);
            let (mut walked, mut before) = (Vec::new(), String::new());
            while !query.contains("since=c") && walked.len() < expected {
                let page = get(&bridge, "ann", &format!("?limit=3&{query}{before}")).await;
                walked.extend(each(&page["notifications"], "id"));
                let Some(next) = page["next"].as_str() else { break };
                before = format!("&before={next}");
            }
            assert!(query.contains("since=c") || walked == whole, "{} {query}: {walked:?} {whole:?}", stand.name);
        }
    }
}

#[tokio::test]
async fn a_function_that_an_application_has_replaced_stays_as_it_is_after_an_upgrade() {
    let db = Database::new().await;
    let own = "create or replace function tidings_app.notification_json(n public.notifications, sub text) returns json
        language sql stable set search_path = pg_catalog, pg_temp
        return json_build_object('id', n.id, 'link', 'x', 'read', n.id = 'n1')";
    db.run(&format!(
        "delete from tidings.app_history where version = 10; {own};
         drop function tidings_app.notifications_of, tidings_app.notification_counts, tidings_app.mark_all_notifications_seen,
           tidings_app.counts_of_notifications, tidings_app.like_patterns;
         insert into notifications (id, tenant_id, type, title, message) values ('n1', 'acme', 'a', 't', 'm'), ('n2', 'acme', 'a', 't', 'm');
         alter table users rename email to mail"
    ))
    .await;
    let bridge = Bridge::start(&db).await;
    let (status, refused) = bridge.get_as(&user("ann"), &format!("{NOTIFICATIONS}/counts")).await;
    assert_eq!((status, &refused["code"]), (501, &json!("no_application")));
    let (status, refused) = bridge.get_as(&user("ann"), &format!("{NOTIFICATIONS}?archived=only")).await;
    assert_eq!((status, &refused["code"]), (501, &json!("no_application")));
    let wishes = Wishes { app: Some(Layout::Reference), ..Wishes::default() };
    assert_eq!(migrate(&db.url.parse().unwrap(), &wishes).await.unwrap(), ["app/V10__seen"]);
    let list = get(&bridge, "ann", "").await;
    let rows = list["notifications"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["link"] == "x"), "{list}");
    assert!(
        rows.iter().all(|row| row["seen"] == row["read"]),
        "it does not say what was seen, so what is read was: {list}"
    );
    assert_eq!(counts(&bridge, "ann").await["unseen"], 2);
}
