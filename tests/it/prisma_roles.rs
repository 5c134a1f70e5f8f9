//! Who may do what on the database of an application that uses Prisma: its own role, bridges, and the owner of schema tidings.

use tidings::migrate::{Layout, Wishes, migrate};

use crate::prisma::{from_the_docs, insert};
use crate::support::{Database, connect};

#[tokio::test]
async fn an_application_role_without_rights_on_tidings_writes_as_before() {
    let db = Database::prisma().await;
    let role = format!("{}_app", db.name());
    db.run(&format!("create role {role} login; grant usage on schema public to {role}; grant all on all tables in schema public to {role}")).await;
    let app = connect(&db.url_as(&role)).await;
    app.batch_execute(&insert("d1", "PROCESSED", "null")).await.unwrap();
    app.batch_execute(
        r#"insert into "ChatSession" (id, "updatedAt", "userId", "tenantId") values ('s', now(), 'ann', 'acme');
           insert into "ChatMessage" (id, role, content, "updatedAt", "sessionId") values ('m', 'USER', 'x', now(), 's'); delete from "ChatSession""#,
    )
    .await
    .unwrap();
    let told =
        "select string_agg(concat_ws(':', type, audience, data ->> 'status'), ' ' order by eid) from tidings._log";
    let expected = "documents.inserted:processed chat_sessions.inserted:ann:waiting chat_messages.inserted:ann:sent chat_sessions.deleted:ann:waiting";
    assert_eq!(db.text(told).await, expected, "messages that go with their session are told by the session");
}

#[tokio::test]
async fn a_bridge_sees_of_users_what_it_needs_and_walls_stand_where_tidings_put_them() {
    let db = Database::prisma().await;
    let role = format!("{}_bridge", db.name());
    let wishes = Wishes { app: Some(Layout::Prisma), service: Some(role.clone()), ..Wishes::default() };
    migrate(&db.url.parse().unwrap(), &wishes).await.unwrap();
    db.run(&format!("alter role {role} login")).await;
    let bridge = connect(&db.url_as(&role)).await;
    for refused in [
        r#"select password from "User""#,
        r#"delete from documents"#,
        r#"update "User" set email = 'x'"#,
        r#"update documents set name = 'x'"#,
    ] {
        assert!(bridge.batch_execute(refused).await.is_err(), "{refused}");
    }
    let calls = "select tidings_app.create_document('acme', 'ann', 'a.pdf', null, null, null, null), tidings_app.documents('acme', null, null, 5);
        select tidings_app.set_document_status('acme', (select id from public.documents), 'failed', 1, 'x', null);
        select tidings_app.mark_notification('acme', 'ann', (select min(id) from public.notifications), true, true), tidings_app.mark_all_notifications_read('acme', 'bob');
        select tidings_app.create_chat_session('acme', 'ann', 's', null);
        select tidings_app.create_chat_message('acme', 'ann', false, (select id from public.\"ChatSession\"), 'm', 'user', 'x', null);
        select tidings_app.begin_answer('acme', (select id from public.\"ChatSession\"), 'a', null), tidings_app.chat_metrics('acme');
        select tidings_app.finish_answer('acme', (select id from public.\"ChatSession\"), 'a', 'assistant', 'sent', 'y', null);
        select tidings_app.chat_sessions('acme', null, null, 'a', null, 5), tidings_app.chat_messages('acme', null, (select id from public.\"ChatSession\"), null, null, true, 5);
        select tidings_app.move_chat_session('acme', 'amy', (select id from public.\"ChatSession\"), 'end', null), tidings_app.set_preferences('acme', 'ann', false), tidings_app.recipients('acme', 't', null)";
    bridge.batch_execute(calls).await.unwrap_or_else(|error| panic!("{error:?}"));
    let forgetful = "select set_config('tidings.tenant', 'globex', true), (select count(*) from tidings_app.notification_reads), (select count(*) from tidings_app.preferences)";
    let rows = bridge.query_one(forgetful, &[]).await.unwrap();
    assert_eq!((rows.get::<_, i64>(1), rows.get::<_, i64>(2)), (0, 0));
    assert_ne!(db.text("select count(*)::text from tidings_app.notification_reads").await, "0");
}

#[tokio::test]
async fn the_wall_that_the_docs_offer_stands_and_everything_works_behind_it() {
    let db = Database::prisma().await;
    db.run(&from_the_docs("**The second wall.**")).await;
    let role = format!("{}_bridge", db.name());
    let wishes = Wishes { app: Some(Layout::Prisma), service: Some(role.clone()), ..Wishes::default() };
    migrate(&db.url.parse().unwrap(), &wishes).await.unwrap();
    db.run(&format!("alter role {role} login")).await;
    db.run(&insert("d1", "PROCESSED", "null")).await;
    let bridge = connect(&db.url_as(&role)).await;
    let within =
        |tenant: &str, what: &str| format!("select ({what})::text from set_config('tidings.tenant', '{tenant}', true)");
    let session = "tidings_app.create_chat_session('acme', 'ann', 's', null) ->> 'id'";
    let session: String = bridge.query_one(&within("acme", session), &[]).await.unwrap().get(0);
    let send = format!(
        "tidings_app.create_chat_message('acme', 'ann', false, '{session}', 'm', 'user', 'x', null) ->> 'created'"
    );
    assert_eq!(bridge.query_one(&within("acme", &send), &[]).await.unwrap().get::<_, String>(0), "true");
    let forgetful = r#"select concat_ws(' ', (select count(*) from public.documents), (select count(*) from public."ChatSession"), (select count(*) from public."ChatMessage"))"#;
    bridge.batch_execute("begin; set local tidings.tenant = 'globex'").await.unwrap();
    assert_eq!(bridge.query_one(forgetful, &[]).await.unwrap().get::<_, String>(0), "0 0 0");
    bridge.batch_execute("commit; begin; set local tidings.tenant = 'acme'").await.unwrap();
    assert_eq!(bridge.query_one(forgetful, &[]).await.unwrap().get::<_, String>(0), "1 1 1");
    let told = "select string_agg(concat_ws(':', type, audience), ' ' order by eid) from tidings._log";
    assert_eq!(
        db.text(told).await,
        "documents.inserted chat_sessions.inserted:ann chat_messages.inserted:ann chat_sessions.updated:ann"
    );
}

#[tokio::test]
async fn capture_runs_as_the_owner_of_the_schema_who_gets_no_more_than_it_needs() {
    let db = Database::empty().await;
    let (owner, path) = (format!("{}_owner", db.name()), env!("CARGO_MANIFEST_DIR"));
    db.run(&std::fs::read_to_string(format!("{path}/tests/prisma/schema.sql")).unwrap()).await;
    let wishes = Wishes { app: Some(Layout::Prisma), owner: Some(owner.clone()), ..Wishes::default() };
    migrate(&db.url.parse().unwrap(), &wishes).await.unwrap();
    for name in ["documents", "chat_sessions", "chat_messages", "notifications"] {
        db.run(&std::fs::read_to_string(format!("{path}/triggers/prisma/{name}.sql")).unwrap()).await;
    }
    db.run(
        r#"insert into "Tenant" values ('acme', 'Acme', now(), now()); insert into "User" (id, email, "tenantId", "updatedAt") values ('ann', 'a', 'acme', now());
           insert into "ChatSession" (id, "updatedAt", "userId", "tenantId") values ('s', now(), 'ann', 'acme');
           insert into "ChatMessage" (id, role, content, "updatedAt", "sessionId") values ('m', 'USER', 'x', now(), 's')"#,
    )
    .await;
    db.run(&insert("d1", "PROCESSED", "null")).await;
    let told = "select string_agg(concat_ws(':', type, audience), ' ' order by eid) from tidings._log";
    assert_eq!(db.text(told).await, "chat_sessions.inserted:ann chat_messages.inserted:ann documents.inserted");
    let may = format!(
        "select concat_ws(' ', has_table_privilege('{owner}', 'documents', 'select'), has_any_column_privilege('{owner}', '\"User\"', 'select'))"
    );
    assert_eq!(db.text(&may).await, "f f");
}
