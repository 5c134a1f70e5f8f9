//! What the functions for notifications and people answer, the same in every layout.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::layout::{Stand, each, shape, stands, walk};
use crate::support::connect;

/// Notifications as a user has them, those archived too if asked for.
async fn inbox(stand: &Stand, tenant: &str, sub: &str, archived: bool) -> Value {
    stand.db.answer(&format!("notifications('{tenant}', '{sub}', null, null, null, {archived}, null, 100)")).await
}

async fn notify(stand: &Stand, tenant: &str, sub: &str) -> String {
    let made = stand
        .db
        .answer(&format!(r#"create_notification('{tenant}', '{sub}', 'news', 'Title', 'Message', '{{"a": 1}}')"#))
        .await;
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_notification_has_the_same_members_and_names_its_creator() {
    for stand in stands().await {
        let id = notify(&stand, "acme", "ann").await;
        let list = inbox(&stand, "acme", "bob", false).await;
        let expected = json!({"notifications": [{"id": "text", "type": "text", "title": "text", "message": "text", "metadata": {"a": "number"}, "created_at": "text",
            "created_by": {"id": "text", "name": "text", "email": "text"}, "seen": "bool", "read": "bool", "archived": "bool"}], "unread_count": "number", "cursor": "text", "next": null});
        assert_eq!(shape(&list), expected, "{}", stand.name);
        let creator = json!({"id": "ann", "name": "Ann", "email": "ann@acme.example"});
        assert_eq!((&list["notifications"][0]["id"], &list["notifications"][0]["created_by"]), (&json!(id), &creator));
        assert_eq!(inbox(&stand, "globex", "gus", true).await["notifications"], json!([]), "not another tenant's");
        // Of a creator who is not of this tenant no more is shown than the id.
        notify(&stand, "globex", "ann").await;
        let strange = inbox(&stand, "globex", "gus", false).await["notifications"][0]["created_by"].clone();
        assert_eq!(strange, json!({"id": "ann", "name": null, "email": null}), "{}", stand.name);
    }
}

#[tokio::test]
async fn read_and_archived_are_each_users_own() {
    for stand in stands().await {
        let (one, two) = (notify(&stand, "acme", "ann").await, notify(&stand, "acme", "ann").await);
        let mark = |id: &str, rest: &str| format!("mark_notification('acme', 'ann', '{id}', {rest})");
        let marked = stand.db.answer(&mark(&one, "true, null")).await;
        assert_eq!(
            (&marked["id"], &marked["read"], &marked["archived"]),
            (&json!(one), &json!(true), &json!(false)),
            "{}",
            stand.name
        );
        let archived = stand.db.answer(&mark(&two, "null, true")).await;
        assert_eq!((&archived["read"], &archived["archived"]), (&json!(true), &json!(true)), "archiving reads");
        let (anns, bobs) = (inbox(&stand, "acme", "ann", false).await, inbox(&stand, "acme", "bob", false).await);
        assert_eq!((each(&anns["notifications"], "id"), &anns["unread_count"]), (vec![one.clone()], &json!(0)));
        assert_eq!((each(&bobs["notifications"], "id").len(), &bobs["unread_count"]), (2, &json!(2)));
        assert_eq!(each(&inbox(&stand, "acme", "ann", true).await["notifications"], "id").len(), 2);
        let unread = stand.db.answer(&mark(&one, "false, null")).await;
        assert_eq!(unread["read"], false);
        let only = stand.db.answer("notifications('acme', 'ann', null, null, true, null, null, 10)").await;
        assert_eq!(each(&only["notifications"], "id"), [one]);
    }
}

#[tokio::test]
async fn a_mark_is_told_to_the_users_other_windows_once() {
    for stand in stands().await {
        let id = notify(&stand, "acme", "ann").await;
        for _ in 0..2 {
            stand.db.answer(&format!("mark_notification('acme', 'bob', '{id}', true, null)")).await;
            stand.db.answer("mark_all_notifications_read('acme', 'ann')").await;
        }
        let told = "select json_agg(json_build_array(tenant, audience, data) order by eid)::text from tidings._log where type = 'notifications.read'";
        let told: Value = stand.db.text(told).await.parse().unwrap();
        assert_eq!(told[0], json!(["acme", "bob", {"id": id, "read": true, "archived": false}]), "{}", stand.name);
        assert_eq!(
            (told.as_array().unwrap().len(), &told[1][1], &told[1][2]["id"], &told[1][2]["read"]),
            (2, &json!("ann"), &json!(null), &json!(true))
        );
    }
}

#[tokio::test]
async fn what_another_tenant_has_cannot_be_marked_nor_told_from_nothing() {
    for stand in stands().await {
        let id = notify(&stand, "acme", "ann").await;
        for id in [id.as_str(), "nothing"] {
            assert_eq!(
                stand.db.answer(&format!("mark_notification('globex', 'gus', '{id}', true, true)")).await,
                json!(null),
                "{}",
                stand.name
            );
        }
        let all = stand.db.answer("mark_all_notifications_read('globex', 'gus')").await;
        assert_eq!((&all["read"], &all["unread_count"]), (&json!(0), &json!(0)));
        assert_eq!(inbox(&stand, "acme", "gus", false).await["unread_count"], 1);
    }
}

#[tokio::test]
async fn pages_and_since_go_by_time_and_lose_nothing_of_one_moment() {
    for stand in stands().await {
        stand.rows(stand.notifications, 1, 7, "2026-01-01 00:00").await;
        stand.rows(stand.notifications, 8, 15, "2026-01-01 00:00:01").await;
        let whole = each(&inbox(&stand, "acme", "ann", false).await["notifications"], "id");
        let walked =
            walk(&stand.db, "notifications('acme', 'ann', null, null, null, null, PLACE, 4)", "notifications", "next")
                .await;
        assert_eq!((walked.len(), &walked), (15, &whole), "{}", stand.name);
        let since = |at: &str| format!("notifications('acme', 'ann', null, '{at}+00', null, null, null, 100)");
        let newer = stand.db.answer(&since("2026-01-01 00:00")).await;
        assert_eq!(
            (each(&newer["notifications"], "id").len(), &newer["unread_count"]),
            (8, &json!(15)),
            "strictly later; the count is of all"
        );
        assert_eq!(stand.db.answer(&since("2026-01-01 00:00:01")).await["notifications"], json!([]));
        let some = stand.db.answer("notifications('acme', 'ann', '{n2,n9,x}', null, null, null, null, 1)").await;
        assert_eq!((each(&some["notifications"], "id").len(), &some["next"]), (2, &json!(null)));
    }
}

#[tokio::test]
async fn counts_are_right_when_many_write_and_mark_at_once() {
    for stand in stands().await {
        stand.rows(stand.notifications, 1, 20, "2026-01-01 00:00").await;
        let mut tasks = JoinSet::new();
        for n in 0..8 {
            let client = connect(&stand.db.url).await;
            tasks.spawn(async move {
                for i in 1..=20 {
                    let call = match n % 4 {
                        0 => format!("mark_notification('acme', 'ann', 'n{i}', true, null)"),
                        1 => format!("mark_notification('acme', 'ann', 'n{i}', null, {})", i <= 10),
                        2 => "mark_all_notifications_read('acme', 'ann')".to_owned(),
                        _ => "create_notification('acme', 'ann', 'news', 't', 'm', null)".to_owned(),
                    };
                    client.execute(&format!("select tidings_app.{call}"), &[]).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        let bobs = inbox(&stand, "acme", "bob", false).await;
        assert_eq!(bobs["unread_count"], 60, "{}", stand.name);
        let anns = stand.db.answer("mark_all_notifications_read('acme', 'ann')").await;
        assert_eq!(anns["unread_count"], 0);
        let list = inbox(&stand, "acme", "ann", true).await;
        let archived = list["notifications"].as_array().unwrap().iter().filter(|n| n["archived"] == true).count();
        assert_eq!((archived, list["unread_count"].as_i64()), (10, Some(0)), "{}", stand.name);
    }
}

#[tokio::test]
async fn mail_goes_to_those_who_want_it() {
    for stand in stands().await {
        let everybody = stand.db.answer("recipients('acme', 'news', null)").await;
        assert_eq!(shape(&everybody), json!([{"sub": "text", "name": "text", "email": "text"}]), "{}", stand.name);
        let mut subs = each(&everybody, "sub");
        subs.sort();
        assert_eq!(subs, ["ann", "bob"], "{}", stand.name);
        assert_eq!(stand.db.answer("preferences('acme', 'ann')").await, json!({"email": true}));
        assert_eq!(stand.db.answer("set_preferences('acme', 'ann', false)").await, json!({"email": false}));
        assert_eq!(stand.db.answer("preferences('acme', 'ann')").await, json!({"email": false}));
        assert_eq!(each(&stand.db.answer("recipients('acme', 'news', null)").await, "sub"), ["bob"]);
        assert_eq!(stand.db.answer("recipients('acme', 'news', 'ann')").await, json!([]));
        assert_eq!(each(&stand.db.answer("recipients('acme', 'news', 'bob')").await, "sub"), ["bob"]);
        assert_eq!(stand.db.answer("recipients('acme', 'news', 'gus')").await, json!([]), "of another tenant");
        assert_eq!(stand.db.refused("set_preferences('acme', 'gus', false)").await.0, "TD404");
    }
}
