//! What `tidings.doctor()` finds, and that what it says to do about it helps.

use tidings::private_postgres::{Options, PrivatePostgres};

use crate::support::{Bridge, Database, eventually};
use crate::watch::PLAIN;

/// One row of `tidings.doctor()`.
#[derive(Clone, Debug)]
pub struct Finding {
    pub severity: String,
    pub code: String,
    pub subject: String,
    pub message: String,
    pub fix: String,
}

impl Database {
    /// Everything found, by a session that begins now.
    pub async fn findings(&self) -> Vec<Finding> {
        self.found_by("tidings.doctor()").await
    }

    async fn found_by(&self, call: &str) -> Vec<Finding> {
        let sql = format!("select severity, code, subject, message, fix from {call}");
        let rows = self.connect().await.query(&sql, &[]).await.unwrap_or_else(|e| panic!("{call}: {e:?}"));
        let text = |row: &tokio_postgres::Row, column: &str| row.get::<_, String>(column);
        let finding = |row| Finding {
            severity: text(row, "severity"),
            code: text(row, "code"),
            subject: text(row, "subject"),
            message: text(row, "message"),
            fix: text(row, "fix"),
        };
        rows.iter().map(finding).collect()
    }

    async fn find(&self, code: &str, subject: &str) -> Option<Finding> {
        self.findings().await.into_iter().find(|finding| (&*finding.code, &*finding.subject) == (code, subject))
    }

    /// The finding of this code about this subject, which must be there.
    async fn told(&self, severity: &str, code: &str, subject: &str) -> Finding {
        let Some(finding) = self.find(code, subject).await else {
            panic!("no {code} of {subject:?} in {:#?}", self.findings().await)
        };
        assert_eq!(finding.severity, severity, "{finding:#?}");
        finding
    }

    /// The same; then does what it says, and sees it gone.
    async fn told_and_mended(&self, severity: &str, code: &str, subject: &str) -> Finding {
        let finding = self.told(severity, code, subject).await;
        self.run(&finding.fix).await;
        let still = self.find(code, subject).await;
        assert!(still.is_none(), "after {}: {still:#?}", finding.fix);
        finding
    }

    /// A bridge that has been heard of.
    pub async fn listening_bridge(&self) -> Bridge {
        let bridge = Bridge::start(self).await;
        let listeners = "select count(*)::text from tidings.listeners";
        eventually("it is among the listeners", || async { self.text(listeners).await == "1" }).await;
        bridge
    }

    /// Writes a new row into `t` and says whether it made an event.
    async fn captures(&self, values: &str) -> bool {
        self.logs(&format!("insert into t values ({values})")).await.len() == 1
    }
}

/// A server of the test's own.
async fn server_with(settings: &[(&str, &str)]) -> PrivatePostgres {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    PrivatePostgres::start(Options { settings, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn a_healthy_database_has_neither_errors_nor_warnings() {
    let db = Database::new().await;
    let bridge = db.listening_bridge().await;
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'x')").await;
    let bad: Vec<Finding> = db.findings().await.into_iter().filter(|finding| finding.severity != "info").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    bridge.stop().await;
}

#[tokio::test]
async fn missing_and_disabled_triggers_are_told_by_name_and_brought_back() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', except_columns => '{b}', ops => '{insert,delete}'").await;
    db.run("drop trigger tidings_insert on t; alter table t disable trigger tidings_delete").await;
    let finding = db.told_and_mended("error", "triggers_missing", "public.t").await;
    let names = "tidings_delete on public.t (disabled), tidings_insert on public.t";
    assert!(finding.message.ends_with(names), "{finding:#?}");
    assert!(db.captures("1, 'acme'").await);
    let kept =
        db.text("select concat_ws(' ', except_columns, ops) from tidings.watches where \"table\" = 't'::regclass");
    assert_eq!(kept.await, "{b} {insert,delete}", "the fix keeps every setting");
}

#[tokio::test]
async fn a_fix_that_watches_again_holds_every_setting_that_is_not_the_default() {
    let settings = "tenant => '=lower(tenant)', columns => '{id,a,\"Odd, ''name\"}', ops => '{insert,truncate}', only_changed => '{a}',
                    subject => '{id,\"=upper(a)\"}', type => 'it''s', audience => 'b', notify => false, strict => true";
    let db = Database::watched(&format!("{PLAIN}, \"Odd, 'name\" int"), settings).await;
    let row = "select (to_jsonb(w) - 'watched_at')::text from tidings._watch w where relation = 't'::regclass";
    let before = db.text(row).await;
    let call = db.text("select tidings._watch_call(w) from tidings._watch w where relation = 't'::regclass").await;
    db.run("select tidings.watch('t', tenant => 'tenant')").await;
    assert_ne!(db.text(row).await, before);
    db.run(&call).await;
    assert_eq!(db.text(row).await, before, "{call}");
}

#[tokio::test]
async fn a_paused_watch_is_told_and_resumed() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("select tidings.pause('t')").await;
    db.told_and_mended("warning", "paused", "public.t").await;
    assert!(db.captures("1, 'acme'").await);
}

#[tokio::test]
async fn an_altered_table_is_told_with_what_became_of_its_columns() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', except_columns => '{a}'").await;
    db.run("alter table t rename a to c; alter table t drop b; alter table t add d int").await;
    let finding = db.told_and_mended("warning", "table_altered", "public.t").await;
    let said = "(column a is now c, column b is gone, column d is new)";
    assert!(finding.message.contains(said), "{finding:#?}");
    assert!(finding.fix.contains("except_columns => '{c}'"), "what was kept back stays kept back: {finding:#?}");
}

#[tokio::test]
async fn settings_that_no_longer_fit_are_an_error_with_the_call_to_correct() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("alter table t drop column tenant; alter table t add tenant_id text").await;
    let finding = db.told("error", "settings_broken", "public.t").await;
    assert!(finding.message.contains("column tenant is gone"), "{finding:#?}");
    db.run(&finding.fix.replace("tenant => 'tenant'", "tenant => 'tenant_id'")).await;
    assert!(db.find("settings_broken", "public.t").await.is_none());
}

#[tokio::test]
async fn a_table_that_was_dropped_or_made_again_is_told() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', type => 'thing'").await;
    db.run("drop table t").await;
    db.told("warning", "table_dropped", "public.t").await;
    db.run(&format!("create table t ({PLAIN})")).await;
    let finding = db.told_and_mended("error", "table_replaced", "public.t").await;
    assert!(finding.fix.contains("type => 'thing'"), "{finding:#?}");
    assert!(db.captures("1, 'acme'").await);
    db.run("drop table t").await;
    db.told_and_mended("warning", "table_dropped", "public.t").await;
}

#[tokio::test]
async fn a_table_with_events_that_nobody_watches_any_more_is_mentioned() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("insert into t values (1, 'acme'); select tidings.unwatch('t')").await;
    let finding = db.told("info", "unwatched", "public.t").await;
    db.run(&finding.fix.replace("-- if that is a mistake:", "").replace("-- ", "").replace('…', "'tenant'")).await;
    assert!(db.find("unwatched", "public.t").await.is_none());
}

#[tokio::test]
async fn rows_without_a_tenant_are_counted_and_the_column_is_named() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("insert into t values (1, null), (2, null)").await;
    let finding = db.told("warning", "null_tenant", "public.t").await;
    assert!(finding.message.starts_with("2 changed rows of public.t"), "{finding:#?}");
    assert!(finding.message.contains(" UTC to "), "{finding:#?}");
    db.run("update t set tenant = 'acme'").await;
    db.told_and_mended("warning", "null_tenant", "public.t").await;
    db.told_and_mended("info", "tenant_nullable", "public.t").await;
}

#[tokio::test]
async fn failed_captures_are_an_error_while_they_are_fresh_and_name_their_sqlstate() {
    let db = Database::watched(PLAIN, "tenant => '=(1 / (length(a) - 3))::text || tenant', ops => '{insert}'").await;
    db.run("insert into t values (1, 'acme', 'bad')").await;
    let finding = db.told("error", "capture_failed", "public.t").await;
    assert!(finding.message.contains("SQLSTATE 22012 1 times"), "{finding:#?}");
    db.run("update tidings._missed set at = at - interval '2 hours'").await;
    let finding = db.told("warning", "capture_failed", "public.t").await;
    let error = db.refusal(&finding.fix).await;
    assert_eq!(error.code().code(), "22012", "the fix shows the failure as long as there is one");
    db.run("delete from t").await;
    db.told_and_mended("warning", "capture_failed", "public.t").await;
}

#[tokio::test]
async fn events_without_a_subject_get_one_from_a_unique_index() {
    let db = Database::watched("id int not null unique, tenant text not null", "tenant => 'tenant'").await;
    db.told_and_mended("info", "no_subject", "public.t").await;
    assert_eq!(db.logs("insert into t values (7, 'acme')").await[0][2], "7");
    let db = Database::watched("tenant text not null", "tenant => 'tenant'").await;
    assert!(db.told("info", "no_subject", "public.t").await.fix.contains("add primary key"));
}

#[tokio::test]
async fn retention_that_fell_behind_names_the_transaction_in_its_way() {
    let db = Database::new().await;
    let behind = "update tidings._pruned set for_time = '6 h', rotated_at = now() - interval '3 h'";
    db.run(behind).await;
    let finding = db.told_and_mended("warning", "retention_behind", "").await;
    assert!(!finding.message.contains("because"), "nothing is in its way: {finding:#?}");
    db.run(behind).await;
    let holder = db.connect().await;
    holder.batch_execute("begin; select from tidings._log_2").await.unwrap();
    let finding = db.told("warning", "retention_behind", "").await;
    assert!(finding.message.ends_with("because transactions hold the partition that is next"), "{finding:#?}");
    for statement in finding.fix.lines() {
        // A session ends a moment after it was told to.
        while db.client.batch_execute(statement).await.is_err() {}
    }
    assert!(db.find("retention_behind", "").await.is_none(), "after {}", finding.fix);
    assert!(holder.batch_execute("select").await.is_err());
}

#[tokio::test]
async fn a_log_that_outgrows_its_size_is_told_and_shrinks() {
    let db = Database::new().await;
    db.run(
        "update tidings._pruned set for_time = '6 h', for_bytes = 1 << 20;
         select tidings.emit('acme', 'x', jsonb_build_object('x', (select string_agg(md5(i || '-' || j), '') from generate_series(1, 1000) j)))
           from generate_series(1, 200) i;
         select setval('tidings._slot', 7)",
    )
    .await;
    let finding = db.told("warning", "log_oversize", "").await;
    db.run(&finding.fix).await;
    assert!(db.find("log_oversize", "").await.is_none() && db.find("retention_behind", "").await.is_none());
    assert!(db.told("info", "log", "").await.message.ends_with("no event; bridges keep 06:00:00 and at most 1024 kB"));
}

#[tokio::test]
async fn bridges_that_are_missing_stalled_gone_or_different_are_told() {
    let db = Database::new().await;
    db.told("warning", "no_listener", "").await;
    let session = db.connect().await;
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let columns = "insert into tidings._listener (bridge, pid, version, checkpoint_at) values";
    // Whoever has no patience takes a bridge for stalled at once, unless its checkpoint is yet to come.
    db.run(&format!(
        "{columns} ('stuck', {pid}, '1.0.0', clock_timestamp()), ('dead', 0, '1.0.0', clock_timestamp() - interval '20 s'),
                   ('one', {pid}, '1.0.0', 'tomorrow'), ('two', {pid}, '1.0.1', 'tomorrow')"
    ))
    .await;
    assert!(db.find("no_listener", "").await.is_none());
    db.told("info", "listener_gone", "dead").await;
    assert!(db.told("info", "versions", "").await.message.contains("1.0.0 (one), 1.0.0 (stuck), 1.0.1 (two)"));
    let stalled = || async {
        let found = db.found_by("tidings._doctor_listeners('0 s')").await;
        found.into_iter().find(|finding| (&*finding.severity, &*finding.code) == ("error", "stalled_listener"))
    };
    let finding = stalled().await.unwrap();
    assert_eq!(finding.subject, "stuck");
    db.run(&finding.fix).await;
    eventually("it is gone", || async { stalled().await.is_none() }).await;
    assert!(session.batch_execute("select").await.is_err());
}

#[tokio::test]
async fn a_queue_that_fills_names_the_oldest_transactions() {
    let db = Database::new().await;
    assert!(db.found_by("tidings._doctor_queue(0.05)").await.is_empty());
    let warning = &db.found_by("tidings._doctor_queue(0.2)").await[0];
    assert_eq!((&*warning.severity, warning.message.starts_with("the NOTIFY queue is 20 % full")), ("warning", true));
    assert_eq!(db.found_by("tidings._doctor_queue(0.6)").await[0].severity, "error");
}

#[tokio::test]
async fn open_transactions_are_told_with_what_ends_them() {
    let db = Database::new().await;
    let (writer, reader) = (db.connect().await, db.connect().await);
    writer.batch_execute("begin; insert into documents (id, tenant_id, name) values ('d', 'acme', 'x')").await.unwrap();
    reader.batch_execute("begin; select 1").await.unwrap();
    for (client, code) in [(&writer, "long_transaction"), (&reader, "idle_in_transaction")] {
        let subject: String = client.query_one("select 'pid ' || pg_backend_pid()", &[]).await.unwrap().get(0);
        let found = db.found_by("tidings._doctor_transactions('0 s')").await;
        let finding = found.iter().find(|finding| finding.subject == subject).expect(code);
        assert_eq!((&*finding.severity, &*finding.code), ("warning", code));
        db.run(&finding.fix).await;
        assert!(client.batch_execute("commit").await.is_err());
        assert!(db.find(code, &subject).await.is_none(), "a young transaction is nobody's business");
    }
}

#[tokio::test]
async fn two_phase_commits_are_told_where_they_cannot_work_and_where_they_were_forgotten() {
    let server = server_with(&[("max_prepared_transactions", "5")]).await;
    let db = Database::fresh_on(&server).await;
    db.told_and_mended("info", "two_phase", "").await;
    let insert = "insert into documents (id, tenant_id, name) values ('d', 'acme', 'x')";
    db.run(&format!("begin; {insert}; prepare transaction 'it''s forgotten'")).await;
    let found = db.found_by("tidings._doctor_transactions('5 min', '0 s')").await;
    let finding = found.iter().find(|finding| finding.subject == "it's forgotten").unwrap();
    assert_eq!((&*finding.severity, &*finding.code), ("warning", "prepared_transaction"));
    db.run("update tidings._pruned set for_time = '6 h', rotated_at = now() - interval '3 h'; select setval('tidings._slot', 7)").await;
    assert!(db.told("warning", "retention_behind", "").await.fix.contains("rollback prepared 'it''s forgotten';"));
    db.run(&finding.fix).await;
    assert!(db.found_by("tidings._doctor_transactions('5 min', '0 s')").await.is_empty());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn settings_of_databases_and_roles_that_matter_are_told_and_taken_back() {
    let db = Database::new().await;
    let name = db.text("select current_database()::text").await;
    db.run(&format!(
        "create role \"R {name}\"; alter role \"R {name}\" in database {name} set session_replication_role = replica;
         alter database {name} set synchronous_commit = off"
    ))
    .await;
    db.told_and_mended("info", "replica_role", &format!("role \"R {name}\" in database {name}")).await;
    db.told_and_mended("info", "synchronous_commit", &format!("database {name}")).await;
    db.told_and_mended("info", "track_functions", "").await;
    db.run(&format!("drop role \"R {name}\"")).await;
}

#[tokio::test]
async fn server_versions_with_known_bugs_are_told() {
    let db = Database::new().await;
    for (number, fixed) in
        [(140_020, "14.21"), (150_015, "15.16"), (160_000, "16.12"), (170_007, "17.8"), (180_001, "18.2")]
    {
        let finding = &db.found_by(&format!("tidings._doctor_version({number})")).await[0];
        assert_eq!(finding.severity, "warning");
        assert!(finding.fix.contains(&format!("PostgreSQL {fixed} or later")), "{finding:#?}");
    }
    for number in [140_021, 150_016, 160_012, 170_008, 180_002, 190_000] {
        assert!(db.found_by(&format!("tidings._doctor_version({number})")).await.is_empty());
    }
}

#[tokio::test]
async fn what_capture_costs_is_measured_for_each_table() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("set track_functions = 'pl'; insert into t values (1, 'acme'); update t set a = 'x'").await;
    eventually("it is counted", || async {
        let found = db.find("cost", "public.t").await;
        found.is_some_and(|finding| finding.message.contains("ms a call in 2 calls; about"))
    })
    .await;
}

#[tokio::test]
async fn rights_that_nobody_needs_are_told_and_taken_back() {
    let db = Database::new().await;
    let role = format!("role_{}", db.text("select current_database()::text").await);
    db.run(&format!(
        "create role {role}; grant usage on schema tidings to {role}; grant execute on function tidings.cursor() to {role};
         grant execute on function tidings.emit(text, text, jsonb, text, text) to public"
    ))
    .await;
    assert!(db.find("rights", &role).await.is_none() && db.find("rights", "public").await.is_none());
    db.run(&format!(
        "grant select, insert on tidings._log to {role}; grant create on schema tidings to {role}; grant usage on sequence tidings._eid to {role};
         grant select on tidings.events to public; grant execute on function tidings._checkpoint(text, int, text, bigint, text) to public"
    ))
    .await;
    db.told_and_mended("warning", "rights", &role).await;
    db.told_and_mended("warning", "rights", "public").await;
    db.run(&format!("grant execute on function tidings._listen() to {role}; grant select on tidings._log to {role}"))
        .await;
    assert!(db.find("rights", &role).await.is_none(), "whoever may listen is a bridge");
    db.run(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_schema_given_to_a_role_of_its_own_goes_on_capturing_or_is_not_given() {
    let server = server_with(&[]).await;
    let db = Database::fresh_on(&server).await;
    db.run(&format!(
        "create table t ({PLAIN}); create table parents (id text primary key, tenant text); insert into parents values ('acme', 'acme');
         select tidings.watch('t', tenant => '=(select p.tenant from public.parents p where p.id = r.tenant)')"
    ))
    .await;
    let finding = db.told("info", "owner_superuser", "postgres").await;
    let refused = db.refusal(&finding.fix).await;
    assert!(refused.message().contains("permission denied for table parents"), "{refused:?}");
    db.run("create role tidings_owner nologin; grant select on parents to tidings_owner; select tidings._give_to('tidings_owner')").await;
    assert!(db.find("owner_superuser", "postgres").await.is_none());
    assert!(db.captures("1, 'acme'").await);
    db.told_and_mended("info", "hidden_sessions", "").await;
    db.run("revoke select on parents from tidings_owner").await;
    db.told_and_mended("error", "settings_broken", "public.t").await;
    assert!(db.captures("2, 'acme'").await);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_locked_hides_nothing_else() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', ops => '{insert,truncate}'").await;
    let migration = db.connect().await;
    migration.batch_execute("begin; lock table t in access exclusive mode").await.unwrap();
    assert!(db.find("settings_broken", "public.t").await.is_none(), "a lock breaks no setting");
    db.told("info", "not_checked", "public.t").await;
    db.told("warning", "no_listener", "").await;
    migration.batch_execute("rollback").await.unwrap();
    assert!(db.find("not_checked", "public.t").await.is_none());
}
