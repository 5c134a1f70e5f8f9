//! E-mail: who gets a letter, what it holds, and how it is stopped. The SMTP server is a real socket of the test's.

use crate::support::{Answer, Bridge, Database, Letter, Smtp, eventually};
use crate::webhooks::led;

const PUBLIC: &str = "https://app.acme.example";

/// What docs/application.md asks of an application, where the reference has none yet.
const APPLICATION: &str = "do $do$ begin
  if to_regprocedure('tidings_app.recipients(text, text, text)') is null then
    create function tidings_app.recipients(tenant text, type text, audience text) returns json language sql
      set search_path = pg_catalog, pg_temp as $$
      select json_agg(json_build_object('sub', u.id, 'name', u.name, 'email', u.email)) from public.users u
       where u.tenant_id = tenant and u.email is not null and u.email_notifications and (audience is null or u.id = audience) $$;
  end if;
  if to_regprocedure('tidings_app.set_preferences(text, text, boolean)') is null then
    create function tidings_app.set_preferences(tenant text, sub text, email boolean) returns json language plpgsql
      set search_path = pg_catalog, pg_temp as $$
      begin
        update public.users u set email_notifications = set_preferences.email where u.tenant_id = tenant and u.id = sub;
        if not found then perform tidings_app.refuse(404, 'there is no such user'); end if;
        return json_build_object('email', email);
      end $$;
  end if;
end $do$";

async fn database() -> Database {
    let db = Database::new().await;
    db.run(APPLICATION).await;
    db.run("insert into users (id, tenant_id, name, email) values ('bob', 'acme', 'Bob', 'bob@acme.example'), ('eve', 'acme', 'Eve', null)").await;
    db
}

async fn start(db: &Database, smtp: &Smtp) -> Bridge {
    let settings = [
        ("email.smtp", smtp.url()),
        ("email.from", "Acme <no-reply@acme.example>".into()),
        ("email.public_url", PUBLIC.into()),
        ("email.types", r#"["notifications.inserted", "told"]"#.into()),
        ("delivery.retry_after_min", "50ms".into()),
        ("delivery.retry_after_max", "100ms".into()),
        ("delivery.retry_for", "4s".into()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Bridge::with(&db.url, &settings).await
}

async fn bridge(db: &Database, smtp: &Smtp) -> Bridge {
    let bridge = start(db, smtp).await;
    led(db, "email").await;
    bridge
}

async fn notify(db: &Database, tenant: &str, title: &str) {
    let sql = "insert into notifications (tenant_id, type, title, message) values ($1, 'info', $2, 'Come & see <it>')";
    db.client.execute(sql, &[&tenant, &title]).await.unwrap();
}

/// Waits until nothing is owed any more, and says what was given up.
async fn settled(db: &Database) -> String {
    let owed = "select coalesce((select owed::text from tidings.consumers), '')";
    eventually("nothing is owed", || async { db.text(owed).await == "0" }).await;
    db.text("select coalesce(string_agg(recipient || ': ' || error, ', ' order by recipient), '') from tidings.dead_letters").await
}

fn recipients(smtp: &Smtp) -> Vec<String> {
    let mut all: Vec<String> = smtp.letters().into_iter().map(|letter| letter.to).collect();
    all.sort();
    all
}

#[tokio::test]
async fn everybody_of_the_tenant_with_an_address_gets_a_letter() {
    let (db, smtp) = (database().await, Smtp::ok().await);
    let bridge = bridge(&db, &smtp).await;
    notify(&db, "acme", "Your document is ready").await;
    let letters = smtp.wait(2).await;
    assert_eq!(
        (settled(&db).await.as_str(), recipients(&smtp)),
        ("", vec!["ann@acme.example".into(), "bob@acme.example".into()])
    );
    let letter = letters.iter().find(|letter| letter.to.starts_with("ann")).unwrap();
    assert_eq!(letter.header("Subject"), "Your document is ready");
    assert_eq!(letter.header("From"), "Acme <no-reply@acme.example>");
    assert_eq!(letter.header("To"), "Ann <ann@acme.example>");
    assert_eq!(letter.header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_eq!(letter.header("Auto-Submitted"), "auto-generated");
    assert!(
        letter.text.contains("Come & see <it>") && letter.text.contains("Come &amp; see &lt;it&gt;"),
        "{}",
        letter.text
    );
    let id = |letter: &Letter| letter.header("Message-ID");
    assert!(id(letter).ends_with("@acme.example>") && id(&letters[0]) != id(&letters[1]));
    bridge.stop().await;
}

#[tokio::test]
async fn an_event_for_one_user_is_told_to_that_user_alone() {
    let (db, smtp) = (database().await, Smtp::ok().await);
    let bridge = bridge(&db, &smtp).await;
    db.run("select tidings.emit('acme', 'told', '{}', audience => 'bob')").await;
    // Another tenant's of the same name, and one who has no address.
    db.run("select tidings.emit('globex', 'told', '{}', audience => 'bob'); select tidings.emit('acme', 'told', '{}', audience => 'eve')").await;
    notify(&db, "globex", "after").await;
    smtp.wait(2).await;
    assert_eq!(
        (settled(&db).await.as_str(), recipients(&smtp)),
        ("", vec!["bob@acme.example".into(), "gus@globex.example".into()])
    );
    bridge.stop().await;
}

#[tokio::test]
async fn who_opts_out_before_the_letter_is_sent_gets_none() {
    let db = database().await;
    let smtp = Smtp::start(|_, before| if before < 4 { "451 later" } else { "250 ok" }).await;
    db.run("update users set email_notifications = false where id = 'ann'").await;
    let bridge = bridge(&db, &smtp).await;
    notify(&db, "acme", "x").await;
    eventually("the first attempt was refused", || async { !smtp.asked().is_empty() }).await;
    db.run("update users set email_notifications = false where id = 'bob'").await;
    assert_eq!((settled(&db).await.as_str(), smtp.letters().len()), ("", 0));
    assert!(smtp.asked().iter().all(|to| to == "bob@acme.example"), "{:?}", smtp.asked());
    bridge.stop().await;
}

#[tokio::test]
async fn a_refusal_for_now_is_tried_again_and_one_for_good_is_not() {
    let db = database().await;
    let smtp = Smtp::start(|to, before| match to {
        "bob@acme.example" => "550 no such mailbox bob@acme.example",
        _ if before < 3 => "451 later",
        _ => "250 ok",
    })
    .await;
    let bridge = bridge(&db, &smtp).await;
    notify(&db, "acme", "x").await;
    smtp.wait(1).await;
    assert_eq!(settled(&db).await, "bob: the SMTP server answered 550");
    assert_eq!(smtp.asked().iter().filter(|to| to.starts_with("bob")).count(), 1);
    bridge.stop().await;
}

#[tokio::test]
async fn an_application_that_fails_for_one_tenant_holds_up_no_other() {
    let (db, smtp) = (database().await, Smtp::ok().await);
    db.run(
        "create or replace function tidings_app.recipients(tenant text, type text, audience text) returns json language sql
           set search_path = pg_catalog, pg_temp as $$
           select case when tenant = 'globex' then json_build_array(1 / (length(tenant) - 6))
             else json_build_array(json_build_object('sub', 'ann', 'name', null, 'email', 'ann@acme.example')) end $$",
    )
    .await;
    let bridge = bridge(&db, &smtp).await;
    notify(&db, "globex", "x").await;
    notify(&db, "acme", "x").await;
    assert_eq!(smtp.wait(1).await[0].header("To"), "ann@acme.example");
    assert_eq!(settled(&db).await, ": the database refused to say who the recipients are (22012); see its log");
    bridge.stop().await;
}

#[tokio::test]
async fn one_click_unsubscribes() {
    let (db, smtp) = (database().await, Smtp::ok().await);
    let bridge = bridge(&db, &smtp).await;
    notify(&db, "acme", "x").await;
    let letters = smtp.wait(2).await;
    let letter = letters.iter().find(|letter| letter.to.starts_with("ann")).unwrap();
    let link = letter.header("List-Unsubscribe");
    let path = link.strip_prefix(&format!("<{PUBLIC}")).unwrap().strip_suffix('>').unwrap().to_owned();
    let wants = "select email_notifications::text from users where tenant_id = 'acme' and id = 'ann'";

    let shown = Answer::of(bridge.request("GET", &path)).await;
    assert_eq!((shown.status, shown.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(shown.body.contains("<form method=\"post\">"), "{}", shown.body);
    assert_eq!(db.text(wants).await, "true", "looking_at_the_link_does_not_unsubscribe");

    let click = bridge
        .request("POST", &path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("List-Unsubscribe=One-Click");
    assert_eq!(Answer::of(click).await.status, 200);
    assert_eq!(db.text(wants).await, "false");
    assert_eq!(Answer::of(bridge.request("POST", &path)).await.status, 200, "and again");
    notify(&db, "acme", "y").await;
    smtp.wait(3).await;
    assert_eq!((settled(&db).await.as_str(), recipients(&smtp).len()), ("", 3));
    assert_eq!(recipients(&smtp)[1..], ["bob@acme.example", "bob@acme.example"]);
    bridge.stop().await;
}

#[tokio::test]
async fn a_link_that_was_not_made_here_does_nothing() {
    let (db, smtp) = (database().await, Smtp::ok().await);
    let bridge = bridge(&db, &smtp).await;
    let made =
        |secret: &str, sub: &str| format!("/v1/unsubscribe/{}", tidings::auth::unsubscribe::sign(secret, "acme", sub));
    for path in [made("another secret of some length", "ann"), "/v1/unsubscribe/x".into(), made("", "ann")] {
        for method in ["GET", "POST"] {
            assert_eq!(Answer::of(bridge.request(method, &path)).await.problem(), (404, "not_found".into()));
        }
    }
    assert_eq!(db.text("select bool_and(email_notifications)::text from users").await, "true");
    let gone = made(crate::support::SECRET, "gone");
    assert_eq!(Answer::of(bridge.request("POST", &gone)).await.status, 200, "who is not there gets no letters either");
    bridge.stop().await;
}

#[tokio::test]
async fn letters_wait_for_an_application_that_says_who_gets_them() {
    let (db, smtp) = (database().await, Smtp::ok().await);
    db.run("alter function tidings_app.recipients(text, text, text) rename to not_yet").await;
    let bridge = start(&db, &smtp).await;
    assert_eq!(db.text("select count(*)::text from tidings.consumers").await, "0");
    db.run("alter function tidings_app.not_yet(text, text, text) rename to recipients").await;
    led(&db, "email").await;
    notify(&db, "globex", "x").await;
    assert_eq!(smtp.wait(1).await[0].to, "gus@globex.example");
    bridge.stop().await;
}

#[tokio::test]
async fn a_server_that_refuses_our_credentials_costs_no_letter() {
    let (db, smtp) =
        (database().await, Smtp::start(|_, before| if before < 4 { "530 sign in first" } else { "250 ok" }).await);
    let bridge = bridge(&db, &smtp).await;
    notify(&db, "globex", "x").await;
    assert_eq!(smtp.wait(1).await.len(), 1);
    assert_eq!(settled(&db).await, "");
    assert_eq!(smtp.asked().len(), 5);
    bridge.stop().await;
}
