//! A real PgBouncer between bridge and PostgreSQL: named where LISTEN could not last, used where it does.

use tidings::app::App;

use crate::cli::tidings as program;
use crate::support::{Bouncer, Bridge, Database, SECRET, Sse, member, settings};

/// What a start says, in its message and its hint.
async fn refusal(url: &str, more: &[(&str, &str)]) -> String {
    let error = App::build(&settings(url, more)).await.err().expect("it started");
    format!("{error} (hint: {})", error.hint().unwrap())
}

#[tokio::test]
async fn a_transaction_pooler_is_named_at_the_start() {
    let db = Database::new().await;
    // It may have a session to spare or not, and hand out the last or the next: it is recognised all the same.
    for pool in ["default_pool_size = 20", "default_pool_size = 1", "default_pool_size = 20\nserver_round_robin = 1"] {
        let bouncer = Bouncer::start(&db, &format!("pool_mode = transaction\n{pool}")).await;
        let url = bouncer.url(&db);
        for migrate in ["false", "true"] {
            let said = refusal(&url, &[("database.migrate", migrate)]).await;
            assert!(said.contains("a pooler in transaction mode is in between"), "{pool}: {said}");
            assert!(said.contains("pool_mode = session") && said.contains(db.name()), "{pool}: {said}");
        }
    }
}

#[tokio::test]
async fn a_statement_pooler_is_named_at_the_start() {
    let db = Database::new().await;
    let bouncer = Bouncer::start(&db, "pool_mode = statement").await;
    let said = refusal(&bouncer.url(&db), &[]).await;
    assert!(said.contains("a pooler in statement mode is in between"), "{said}");
}

#[tokio::test]
async fn through_a_session_pooler_everything_arrives() {
    let db = Database::new().await;
    let bouncer = Bouncer::start(&db, "pool_mode = session").await;
    let url = bouncer.url(&db);
    let bridge = Bridge::as_named(&url, &[("database.migrate", "true")]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'x')").await;
    assert_eq!(sse.next().await["type"], "documents.inserted");
    // What a session of the pool must have, whoever it was before: without it walled tables would show everything.
    let question = "select string_agg(current_setting(s), '|') from unnest('{jit,tidings.tenant,statement_timeout,timezone}'::text[]) s";
    let pool = tidings::app::pool(&settings(&url, &[])).unwrap();
    let shown: String = pool.get().await.unwrap().query_one(question, &[]).await.unwrap().get(0);
    assert_eq!(shown, "off||10s|UTC");
    bridge.stop().await;
}

#[tokio::test]
async fn a_pooler_that_does_not_know_a_parameter_is_suspected_in_the_hint() {
    let db = Database::new().await;
    let bouncer = Bouncer::start(&db, "pool_mode = session").await;
    let url = format!("{}?options=-c%20search_path%3Dpublic", bouncer.url(&db));
    let output = program(&["emit", "--tenant", "acme", "--type", "a.b"])
        .env("DATABASE_URL", &url)
        .env("TIDINGS__AUTH__SECRET", SECRET)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("unsupported startup parameter") && said.contains("ignore_startup_parameters"), "{said}");
}
