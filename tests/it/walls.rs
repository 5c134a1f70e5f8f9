//! The second wall between tenants: row-level security on the application's tables, as a bridge of the service role meets it.

use serde_json::json;
use tidings::migrate::{Wishes, migrate};
use tokio::process::Command;

use crate::restore::program;
use crate::support::{Answer, Bridge, Database, Sse, connect, get_page, member, token};

/// A database whose tables are an ordinary role's, and a bridge that logs in with no more than the service role.
struct Site {
    db: Database,
    bridge: Bridge,
}

const SEED: &str = "
    insert into tenants (id, name) values ('acme', 'Acme'), ('globex', 'Globex');
    insert into users (id, tenant_id, name, email) values ('ann', 'acme', 'Ann', 'ann@acme.example'), ('gus', 'globex', 'Gus', 'gus@globex.example');
    insert into documents (id, tenant_id, name, status) values ('ours', 'acme', 'n', 'uploaded'), ('theirs', 'globex', 'n', 'uploaded');
    insert into notifications (id, tenant_id, type, title, message) values ('n', 'acme', 'note', 't', 'm'), ('m', 'globex', 'note', 't', 'm');
    select tidings.watch('documents', tenant => 'tenant_id'), tidings.watch('notifications', tenant => 'tenant_id')";

impl Site {
    async fn new() -> Self {
        let db = Database::empty().await;
        let name = db.name();
        db.run(&format!(
            "create role {name}_owner login createrole; grant create on database {name} to {name}_owner; grant create on schema public to {name}_owner"
        ))
        .await;
        let wishes = Wishes {
            app: Some(tidings::migrate::Layout::Reference),
            owner: None,
            service: Some(format!("{name}_service")),
        };
        let owner = db.url_as(&format!("{name}_owner"));
        migrate(&owner.parse().unwrap(), &wishes).await.unwrap();
        connect(&owner).await.batch_execute(SEED).await.unwrap();
        db.run(&format!("create role {name}_bridge login in role {name}_service")).await;
        let bridge = Bridge::with(&db.url_as(&format!("{name}_bridge")), &[]).await;
        Self { db, bridge }
    }

    fn owner(&self) -> String {
        self.db.url_as(&format!("{}_owner", self.db.name()))
    }
}

#[tokio::test]
async fn a_query_that_forgets_the_tenant_shows_no_other() {
    let site = Site::new().await;
    let forgetful = "
        create or replace function tidings_app.documents(tenant text, ids text[], place text, max int) returns json language sql stable
          return (select json_build_object('documents', json_agg(tidings_app.document_json(d)), 'cursor', tidings.cursor(), 'next', null) from public.documents d);
        create or replace function tidings_app.set_preferences(tenant text, sub text, email boolean) returns json language sql
          begin atomic update public.users set email_notifications = set_preferences.email; select json_build_object('email', email); end;
        create or replace function tidings_app.create_notification(tenant text, sub text, type text, title text, message text, metadata jsonb) returns json language sql
          begin atomic insert into public.notifications (tenant_id, type, title, message) values ('globex', type, title, message); select '{}'::json; end";
    connect(&site.owner()).await.batch_execute(forgetful).await.unwrap();
    for (tenant, sub, own) in [("acme", "ann", "ours"), ("globex", "gus", "theirs"), ("acme", "ann", "ours")] {
        let token = token(json!({"sub": sub, "tenant": tenant}));
        let (status, list) = site.bridge.get_as(&token, &format!("/v1/tenants/{tenant}/documents")).await;
        let rows = list["documents"].as_array().unwrap();
        assert_eq!((status, rows.len(), &rows[0]["id"]), (200, 1, &json!(own)));
    }
    let wish = json!({"email": false});
    assert_eq!(site.bridge.send_as(&member("acme"), "PATCH", "/v1/tenants/acme/preferences", &wish).await.0, 200);
    assert_eq!(site.db.text("select string_agg(id, ' ') from users where not email_notifications").await, "ann");
    let service = token(json!({"sub": "s", "tenant": "acme", "role": "service"}));
    let note = json!({"type": "a", "title": "t", "message": "m"});
    let (status, refused) = site.bridge.post_as(&service, "/v1/tenants/acme/notifications", &note).await;
    assert_eq!((status, &refused["code"]), (501, &json!("not_granted")), "nor writes to another");
    assert_eq!(site.db.text("select count(*)::text from notifications").await, "2");
}

#[tokio::test]
async fn all_routes_work_for_a_bridge_of_the_service_role() {
    let site = Site::new().await;
    let bridge = &site.bridge;
    let (ann, service) = (member("acme"), token(json!({"sub": "s", "tenant": "acme", "role": "service"})));
    let mut sse = Sse::open(bridge, &ann, "acme", "").await;
    let after = get_page(bridge, &ann, "acme", "").await.cursor;
    let path = |rest: &str| format!("/v1/tenants/acme/{rest}");
    let (status, made) = bridge.post_as(&ann, &path("documents"), &json!({"name": "Plan"})).await;
    assert_eq!(status, 201, "{made}");
    let (status, told) =
        bridge.post_as(&service, &path("notifications"), &json!({"type": "a", "title": "t", "message": "m"})).await;
    assert_eq!(status, 201, "{told}");
    let (id, note) = (made["id"].as_str().unwrap(), told["id"].as_str().unwrap());
    for (method, rest, body) in [
        ("POST", "documents/status".to_owned(), json!({"document_ids": [id, "theirs"]})),
        ("POST", "notifications/seen".into(), json!({})),
        ("PATCH", format!("notifications/{note}"), json!({"read": true, "archived": true})),
        ("PATCH", format!("notifications/{note}"), json!({"read": false})),
        ("POST", "notifications/read-all".into(), json!({})),
        ("PATCH", "preferences".into(), json!({"email": false})),
    ] {
        let (status, answer) = bridge.send_as(&ann, method, &path(&rest), &body).await;
        assert_eq!(status, 200, "{method} {rest}: {answer}");
    }
    for (rest, member, count) in [
        ("documents".to_owned(), "documents", 2),
        (format!("documents?after={after}"), "documents", 1),
        ("documents/status?ids=ours,theirs".into(), "documents", 1),
        ("notifications?archived=true".into(), "notifications", 3),
        (format!("notifications?since={after}"), "notifications", 2),
        ("notifications?types=*_uploaded,note".into(), "notifications", 2),
    ] {
        let (status, answer) = bridge.get_as(&ann, &path(&rest)).await;
        assert_eq!((status, answer[member].as_array().map(Vec::len)), (200, Some(count)), "{rest}: {answer}");
    }
    assert_eq!(bridge.get_as(&ann, &path(&format!("documents/{id}"))).await.0, 200);
    assert_eq!(bridge.get_as(&ann, &path("preferences")).await, (200, json!({"email": false})));
    assert_eq!(bridge.get_as(&ann, &path("documents/theirs")).await.0, 404);
    let counts = json!({"all": 3, "unread": 0, "unseen": 0, "archived": 0, "documents": 1});
    assert_eq!(bridge.get_as(&ann, &path("notifications/counts")).await.1["counts"], counts, "of this tenant only");
    let kinds: Vec<_> = sse.take(7).await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds[..3], ["documents.inserted", "notifications.inserted", "notifications.inserted"]);
    assert_eq!(kinds[3], "notifications.seen");
    assert_eq!(kinds[4..], ["notifications.read"; 3]);
    site.db.run("update documents set status = 'failed'").await;
    for (id, expected) in [(id, 200), ("theirs", 404)] {
        let (status, answer) = bridge.post_as(&ann, &path(&format!("documents/{id}/retry")), &json!({})).await;
        assert_eq!(status, expected, "{id}: {answer}");
    }
}

#[tokio::test]
async fn the_applications_own_sessions_see_everything_and_can_dump_it() {
    let site = Site::new().await;
    let name = site.db.name();
    site.db.run(&format!("create role {name}_app login; grant select, insert on documents to {name}_app")).await;
    for who in ["owner", "app"] {
        let session = connect(&site.db.url_as(&format!("{name}_{who}"))).await;
        let seen: String =
            session.query_one("select string_agg(id, ' ' order by id) from documents", &[]).await.unwrap().get(0);
        assert_eq!(seen, "ours theirs", "{who}");
        let insert = format!("insert into documents (id, tenant_id, name) values ('by-{who}', 'globex', 'n')");
        session.batch_execute(&insert).await.unwrap();
        session.batch_execute(&format!("delete from documents where id = 'by-{who}'")).await.ok();
    }
    let dump = async |more: &[&str]| {
        let mut command = Command::new(program(&site.db, "pg_dump").await);
        command
            .arg("--dbname")
            .arg(site.owner())
            .args(["--table=documents", "--table=tenants", "--section=pre-data", "--section=data"])
            .args(more);
        command.output().await.unwrap()
    };
    let refused = dump(&[]).await;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("row-level security"), "{why}");
    let file = std::env::temp_dir().join(format!("tidings-wall-{}-{name}", std::process::id()));
    let dumped = dump(&["--enable-row-security", "--file", file.to_str().unwrap()]).await;
    assert!(dumped.status.success(), "{dumped:?}");

    // And into another database, by the same role: rows come before the wall.
    let copy = Database::empty().await;
    copy.run(&format!("grant create on schema public to {name}_owner")).await;
    let to = copy.url_as(&format!("{name}_owner"));
    let mut restore = Command::new(program(&copy, "psql").await);
    restore.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file"]).arg(&file).arg("--dbname").arg(&to);
    let restored = restore.output().await.unwrap();
    std::fs::remove_file(file).unwrap();
    assert!(restored.status.success(), "{restored:?}");
    let seen = "select string_agg(id, ' ' order by id) from documents where id in ('ours', 'theirs')";
    assert_eq!((copy.text(seen).await, site.db.text(seen).await), ("ours theirs".into(), "ours theirs".into()));
}

#[tokio::test]
async fn rows_are_copied_in_by_insert_or_by_roles_that_walk_through_walls() {
    let site = Site::new().await;
    let copy = async || {
        let owner = connect(&site.owner()).await;
        let begun = owner.copy_in::<_, bytes::Bytes>("copy documents (id, tenant_id, name) from stdin").await;
        begun.map(drop).map_err(|error| error.as_db_error().unwrap().message().to_owned())
    };
    assert_eq!(copy().await.unwrap_err(), "COPY FROM not supported with row-level security");
    let owner = connect(&site.owner()).await;
    owner.batch_execute("alter table documents no force row level security").await.unwrap();
    assert_eq!(copy().await, Ok(()), "as docs/dba.md says");
}

#[tokio::test]
async fn a_function_that_is_missing_is_told_as_an_application_that_is_not_there() {
    let site = Site::new().await;
    connect(&site.owner()).await.batch_execute("drop function tidings_app.preferences").await.unwrap();
    let answer =
        Answer::of(site.bridge.request("GET", "/v1/tenants/acme/preferences").bearer_auth(member("acme"))).await;
    assert_eq!(answer.problem(), (501, "no_application".into()));
}
