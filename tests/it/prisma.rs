//! An application that uses Prisma goes on as it was: nothing of it is altered, nothing is in its way, and its spelling is not seen outside.

use serde_json::{Value, json};
use tidings::migrate::{Layout, Wishes, migrate};

use crate::cli::tidings;
use crate::support::{Bridge, Database, Sse, get_page, member};

/// As Prisma's client writes it: all values are its own, and times are UTC.
pub fn insert(id: &str, status: &str, metadata: &str) -> String {
    format!(
        r#"insert into "public"."documents" ("id", "name", "type", "url", "status", "metadata", "createdAt", "updatedAt", "userId", "tenantId")
           values ('{id}', 'a.pdf', 'pdf', 'https://s3/k', '{status}', {metadata}, '2026-03-04 05:06:07.123', '2026-03-04 05:06:07.123', 'ann', 'acme')"#
    )
}

/// The first SQL below a place of docs/application.md.
pub fn from_the_docs(place: &str) -> String {
    let docs = include_str!("../../docs/application.md");
    let (_, below) = docs.split_once(place).unwrap();
    below.split_once("```sql").unwrap().1.split_once("```").unwrap().0.to_owned()
}

async fn status(db: &Database, id: &str) -> Value {
    db.answer(&format!("documents('acme', '{{{id}}}', null, 1)")).await["documents"][0]["status"].clone()
}

#[tokio::test]
async fn a_document_that_prisma_wrote_is_seen_live_polled_and_listed_in_canonical_words() {
    let db = Database::prisma().await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    let mut sse = Sse::open(&bridge, &token, "acme", "?types=documents.*,notifications.*").await;
    let metadata =
        r#"'{"size": 7, "uploadedAt": "2026-03-04T05:06:07.123Z", "mimeType": "application/pdf", "s3Key": "k"}'"#;
    db.run(&insert("d1", "PROCESSING", metadata)).await;
    let row = json!({"id": "d1", "tenant_id": "acme", "uploaded_by": "ann", "name": "a.pdf", "url": "https://s3/k", "size": 7, "mime_type": "application/pdf",
        "metadata": {"s3Key": "k"}, "status": "processing", "stage": null, "progress": null, "error": null,
        "created_at": "2026-03-04T05:06:07.123+00:00", "updated_at": "2026-03-04T05:06:07.123+00:00"});
    let seen = sse.next().await;
    assert_eq!(
        (&seen["type"], &seen["subject"], &seen["source"], &seen["data"]),
        (&json!("documents.inserted"), &json!("d1"), &json!("/public/documents"), &row)
    );
    let (code, polled) = bridge.get_as(&token, "/v1/tenants/acme/watched/documents/d1").await;
    assert_eq!((code, &polled["data"]), (200, &row));
    db.run(r#"update documents set status = 'FAILED', metadata = '{"error": "unreadable"}', "updatedAt" = now()"#)
        .await;
    let failed = sse.next().await;
    assert_eq!(
        (&failed["data"]["status"], &failed["data"]["error"]),
        (&json!("failed"), &json!({"code": "failed", "message": "unreadable"}))
    );

    let (code, made) = bridge.post_as(&token, "/v1/tenants/acme/documents", &json!({"name": "b.pdf", "size": 9})).await;
    assert_eq!((code, &made["status"], &made["size"]), (201, &json!("uploaded"), &json!(9)));
    let types = [sse.next().await, sse.next().await].map(|event| event["type"].as_str().unwrap().to_owned());
    assert_eq!(types, ["documents.inserted", "notifications.inserted"]);
    let in_the_table = r#"select concat_ws(' ', status, type, metadata ->> 'size', url = '', id ~ '^c[0-9a-z]{24}$') from documents where name = 'b.pdf'"#;
    assert_eq!(db.text(in_the_table).await, "UPLOADED pdf 9 t t", "as the application spells it");
}

#[tokio::test]
async fn every_spelling_is_mapped_also_where_the_column_is_a_text() {
    let db = Database::prisma().await;
    db.run(
        r#"alter table documents alter column status drop default, alter column status type text using status::text"#,
    )
    .await;
    let spellings = [
        ("UPLOADED", "uploaded"),
        ("PENDING", "uploaded"),
        ("PROCESSING", "processing"),
        ("PROCESSED", "processed"),
        ("COMPLETE", "processed"),
        ("completed", "processed"),
        ("FAILED", "failed"),
        ("OCR", "processing"),
    ];
    for (n, (spelled, canonical)) in spellings.into_iter().enumerate() {
        db.run(&insert(&format!("d{n}"), spelled, "null")).await;
        assert_eq!(status(&db, &format!("d{n}")).await, canonical, "{spelled}");
    }
    let shown = db.text("select string_agg(data ->> 'status', ' ' order by eid) from tidings._log where type = 'documents.inserted'").await;
    assert_eq!(shown, spellings.map(|(_, canonical)| canonical).join(" "));
    // What is written is spelled as the application does, and what changes nothing changes no spelling.
    db.answer("set_document_status('acme', 'd2', 'processed', 100, null, null)").await;
    db.answer("set_document_status('acme', 'd5', 'processed', null, null, null)").await;
    assert_eq!(
        db.text("select string_agg(status, ' ' order by id) from documents where id in ('d2', 'd5')").await,
        "PROCESSED completed"
    );
}

#[tokio::test]
async fn an_enum_without_uploaded_begins_where_the_application_begins() {
    let db = Database::prisma().await;
    db.run(
        r#"create type "Three" as enum ('PROCESSING', 'PROCESSED', 'FAILED');
           alter table documents alter column status drop default, alter column status type "Three" using status::text::"Three""#,
    )
    .await;
    let made = db.answer("create_document('acme', 'ann', 'noextension', null, null, null, null)").await;
    assert_eq!(
        (&made["status"], db.text("select type from documents").await.as_str()),
        (&json!("processing"), "unknown")
    );
    db.answer(&format!(
        "set_document_status('acme', '{}', 'processed', null, null, null)",
        made["id"].as_str().unwrap()
    ))
    .await;
    assert_eq!(db.text("select status::text from documents").await, "PROCESSED");
}

#[tokio::test]
async fn nothing_of_tidings_is_in_the_way_of_the_applications_migrations() {
    let db = Database::prisma().await;
    db.run(&insert("d1", "PROCESSING", "null")).await;
    // What `prisma migrate` does when a value leaves an enum, a column comes, goes and changes its type, and a table is reset.
    db.run(
        r#"BEGIN; CREATE TYPE "DocumentStatus_new" AS ENUM ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED');
           ALTER TABLE "documents" ALTER COLUMN "status" DROP DEFAULT;
           ALTER TABLE "documents" ALTER COLUMN "status" TYPE "DocumentStatus_new" USING ("status"::text::"DocumentStatus_new");
           ALTER TYPE "DocumentStatus" RENAME TO "DocumentStatus_old"; ALTER TYPE "DocumentStatus_new" RENAME TO "DocumentStatus"; DROP TYPE "DocumentStatus_old"; COMMIT;
           ALTER TABLE "documents" ADD COLUMN "pages" INTEGER, DROP COLUMN "type", ALTER COLUMN "name" SET DATA TYPE VARCHAR(200);
           ALTER TABLE "documents" ADD COLUMN "type" TEXT NOT NULL DEFAULT 'x';
           ALTER TABLE "notifications" DROP COLUMN "metadata", ADD COLUMN "metadata" JSONB;
           TRUNCATE "notifications", "documents""#,
    )
    .await;
    let made = db.answer("create_document('acme', 'ann', 'a.pdf', null, 3, null, null)").await;
    db.answer(&format!(
        "set_document_status('acme', '{}', 'processed', null, null, null)",
        made["id"].as_str().unwrap()
    ))
    .await;
    assert_eq!(db.text("select status::text from documents").await, "COMPLETED");
    let told = "select string_agg(concat_ws(':', type, data ->> 'status'), ' ' order by eid) from tidings._log where type like 'documents.%'";
    assert_eq!(
        db.text(told).await,
        "documents.inserted:processing documents.inserted:uploaded documents.updated:processed"
    );
    assert_eq!(db.text("select count(*)::text from tidings._missed").await, "0");
    db.run(r#"DROP TABLE "ChatMessage"; DROP TABLE "ChatSession"; DROP TABLE "documents""#).await;
}

#[tokio::test]
async fn whatever_metadata_holds_no_write_fails_and_every_event_is_shown() {
    let db = Database::prisma().await;
    let odd = [
        "null",
        "'null'",
        "'[]'",
        "'7'",
        r#"'"text"'"#,
        r#"'{"size": "big", "progress": "half", "stage": {"a": 1}, "mimeType": 5, "error": [1]}'"#,
        r#"'{"progress": 1e400, "size": -1.5}'"#,
        r#"'{"error": {"code": 4}, "errorCode": {}}'"#,
    ];
    for (n, metadata) in odd.iter().enumerate() {
        db.run(&insert(&format!("d{n}"), "FAILED", metadata)).await;
    }
    assert_eq!(db.text("select count(*) || ' ' || (select count(*) from tidings._missed) from tidings._log where type = 'documents.inserted'").await, "8 0");
    let list = db.answer("documents('acme', null, null, 50)").await;
    for document in list["documents"].as_array().unwrap() {
        assert!(document["metadata"].is_object() && !document["progress"].is_string(), "{document}");
        let id = document["id"].as_str().unwrap();
        db.answer(&format!("set_document_status('acme', '{id}', 'processing', 5, 'ocr', null)")).await;
    }
}

#[tokio::test]
async fn what_was_read_before_the_adapter_came_is_read_and_the_flag_hides_nothing_later() {
    let db = Database::prisma().await;
    let row = |id: &str, at: &str| {
        format!(
            r#"insert into notifications (id, type, title, message, read, "createdAt", "userId", "tenantId") values ('{id}', 't', 't', 'm', true, {at}, 'ann', 'acme')"#
        )
    };
    db.run(&row("old", "'2020-01-01'")).await;
    db.run(&row("new", "now() at time zone 'UTC'")).await;
    let inbox = db.answer("notifications('acme', 'bob', null, null, null, null, null, 9)").await;
    let read: Vec<_> = inbox["notifications"].as_array().unwrap().iter().map(|n| n["read"] == true).collect();
    assert_eq!((read, &inbox["unread_count"]), (vec![false, true], &json!(1)));
    assert_eq!(db.answer("mark_notification('acme', 'bob', 'old', false, null)").await["read"], false);
    db.answer("mark_all_notifications_read('acme', 'ann')").await;
    assert_eq!(
        db.text("select count(*)::text from notifications where read").await,
        "2",
        "the flag is the application's"
    );
    assert_eq!(db.text("select count(*)::text from tidings._log where type = 'notifications.updated'").await, "0");
}

#[tokio::test]
async fn the_folder_of_triggers_does_not_drift_and_goes_without_a_trace() {
    let db = Database::prisma().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/triggers/prisma");
    for command in ["check", "apply"] {
        let done = tidings(&["triggers", command, folder]).env("DATABASE_URL", &db.url).output().await.unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let bridge = Bridge::start(&db).await;
    assert_eq!(get_page(&bridge, &member("acme"), "acme", "").await.events, Vec::<Value>::new());
    bridge.stop().await;
    db.run(&from_the_docs("### Undo")).await;
    let left = "select concat((select count(*) from pg_trigger where not tgisinternal), ' ', (select count(*) from pg_constraint where conname like '%tidings%'))";
    assert_eq!(db.text(left).await, "0 0");
    db.run(&insert("d1", "PROCESSING", "null")).await;
}

#[tokio::test]
async fn tables_that_are_laid_out_otherwise_are_refused_by_name_and_chats_may_be_missing() {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/prisma/schema.sql");
    let schema = std::fs::read_to_string(schema).unwrap();
    let wishes = Wishes { app: Some(Layout::Prisma), ..Wishes::default() };
    let db = Database::empty().await;
    db.run(&schema).await;
    db.run(r#"alter table documents rename column "userId" to owner; drop table "ChatMessage""#).await;
    let refused = migrate(&db.url.parse().unwrap(), &wishes).await.unwrap_err();
    let said = refused.to_string();
    assert!(said.contains(r#""documents"."userId""#) && said.contains(r#""ChatMessage"."id""#), "{said}");
    assert!(refused.hint().unwrap().contains("tests/prisma/schema.prisma"), "{refused:?}");
    db.run(r#"alter table documents rename column owner to "userId"; drop table "ChatSession""#).await;
    let service = format!("{}_service", db.name());
    let command = async |app: &str| {
        tidings(&["migrate", "--app", app, "--service", &service]).env("DATABASE_URL", &db.url).output().await.unwrap()
    };
    let done = command("prisma").await;
    assert!(done.status.success() && String::from_utf8(done.stdout).unwrap().contains("applied app/prisma/V1__shared"));
    assert_eq!((command("reference").await.status.code(), command("drizzle").await.status.code()), (Some(1), Some(2)));
    assert_eq!(db.answer("documents('acme', null, null, 5)").await["documents"], json!([]));
    assert_eq!(
        db.ask("chat_metrics('acme')").await.unwrap_err().code().code(),
        "42P01",
        "which the routes answer with 501"
    );
}

#[tokio::test]
async fn a_document_of_prismas_that_failed_is_processed_again_when_a_member_asks() {
    let db = Database::prisma().await;
    let bridge = Bridge::start(&db).await;
    let metadata = r#"'{"error": "unreadable", "errorCode": "x", "progress": 60, "stage": "scanning", "s3Key": "k"}'"#;
    db.run(&insert("d1", "FAILED", metadata)).await;
    let retry = "/v1/tenants/acme/documents/d1/retry";
    let (status, again) = bridge.post_as(&member("acme"), retry, &json!({})).await;
    assert_eq!((status, &again["status"], &again["metadata"]), (200, &json!("processing"), &json!({"s3Key": "k"})));
    for gone in ["progress", "stage", "error"] {
        assert_eq!(again[gone], Value::Null, "{gone} is that of the attempt that failed");
    }
    assert_eq!(bridge.post_as(&member("acme"), retry, &json!({})).await.0, 409);
    db.run("select tidings_app.set_document_status('acme', 'd1', 'processing', 10, 'scanning', null)").await;
    db.run("select tidings_app.set_document_status('acme', 'd1', 'processing', 20, null, null)").await;
    let kept = db.answer("documents('acme', '{d1}', null, 1)").await["documents"][0].clone();
    assert_eq!((&kept["progress"], &kept["stage"]), (&json!(20), &json!("scanning")), "of the same attempt");
}

#[tokio::test]
async fn a_function_of_a_prisma_application_that_was_replaced_stays_as_it_is_after_an_upgrade() {
    let db = Database::prisma().await;
    let signature =
        "tidings_app.set_document_status(tenant text, id text, status text, progress int, stage text, error jsonb)";
    let own = format!("create or replace function {signature} returns json language sql as $$ select '{{}}'::json $$");
    db.run(&format!("delete from tidings.prisma_history where version = 11; {own}")).await;
    let wishes = Wishes { app: Some(Layout::Prisma), ..Wishes::default() };
    assert_eq!(migrate(&db.url.parse().unwrap(), &wishes).await.unwrap(), ["app/prisma/V11__retry"]);
    assert_eq!(
        db.text("select tidings_app.set_document_status('acme', 'd', 'failed', 1, null, null)::text").await,
        "{}"
    );
}
