//! Guarantees about the configuration as a whole; parsers are tested beside their code.

use std::{collections::BTreeSet, fs, time::Duration};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(super) fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub(super) fn from_env(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(None, pairs(env).into_iter(), &[])
}

pub(super) fn from_text(text: &str) -> Result<Config, ConfigError> {
    let mut settings = Settings::defaults()?;
    settings.add_text("my.toml", text)?;
    let config = Config::read(&settings)?;
    check::refuse_impossible(&config, &settings)?;
    Ok(config)
}

/// A directory of this test's own, removed when dropped.
pub(super) struct Folder(std::path::PathBuf);

impl Folder {
    pub(super) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidings-config-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_defaults_are_valid() {
    let config = Config::default();
    assert_eq!(config.log.retention, Duration::from_secs(72 * 60 * 60));
    assert_eq!(config.ring.bytes_max, 8 * 1024 * 1024);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
}

#[test]
fn config_toml_is_complete() {
    let settings = Settings::defaults().unwrap();
    let written: BTreeSet<String> = settings.names().map(str::to_owned).collect();
    let fields: BTreeSet<String> =
        SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}"))).collect();
    assert_eq!(written, &fields | &list::LISTS.iter().map(|list| list.name.to_owned()).collect());
}

/// The section of a list as it stands in the manual, without the comment signs.
pub(super) fn example_of(list: &str) -> String {
    let example = MANUAL.split(&format!("\n# [[{list}]]\n")).nth(1).unwrap().split("\n\n").next().unwrap();
    let lines = example.lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap()));
    format!("[[{list}]]\n{}", lines.collect::<String>())
}

#[test]
fn the_channel_in_the_manual_is_complete_and_valid() {
    let expected = Channel {
        name: "chat_session_change".into(),
        tenant: "tenant_id".into(),
        kind: "chat_sessions.changed".into(),
        subject: Some("session_id".into()),
        audience: Some("user_id".into()),
    };
    assert_eq!(from_text(&example_of("channel")).unwrap().channel, [expected]);
}

#[test]
fn a_list_of_channels_replaces_the_one_of_an_earlier_layer() {
    let folder = Folder::new("channels");
    let file = folder
        .file("my.toml", "[[channel]]\nname = \"a\"\ntenant = \"t\"\n[[channel]]\nname = \"b\"\ntenant = \"=acme\"\n");
    let names = |env: &[(&str, &str)]| {
        let config = Config::load(Some(Path::new(&file)), pairs(env).into_iter(), &[]).unwrap();
        config.channel.into_iter().map(|channel| (channel.name, channel.kind)).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), [("a".into(), "a".into()), ("b".into(), "b".to_owned())]);
    let json = r#"[{"name": "Über alles", "tenant": "x.y", "type": "c.d"}]"#;
    assert_eq!(names(&[("TIDINGS__CHANNEL", json)]), [("Über alles".into(), "c.d".to_owned())]);
}

#[test]
fn a_channel_that_cannot_work_is_refused_with_line_key_and_remedy() {
    let ok = "[[channel]]\nname = \"a\"\ntenant = \"t\"\n";
    for (text, message) in [
        ("tennant = \"t\"", "my.toml:6: `channel.tennant` is not a setting"),
        ("type = 1", "my.toml:6: `channel.type` must be a string, not an integer"),
        ("type = \"a b\"", "my.toml:6: `channel.type` is no event type: \"a b\""),
        ("subject = \"a..b\"", "my.toml:6: `channel.subject` is not a path: \"a..b\""),
        ("audience = \"=ann\"", "my.toml:6: `channel.audience` is not a path: \"=ann\""),
    ] {
        let error = from_text(&format!("{ok}[[channel]]\nname = \"b\"\n{text}\ntenant = \"t\"")).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(!error.hint.is_empty());
    }
    for (text, message) in [
        ("name = \"b\"", "my.toml:4: `channel` has no `tenant`"),
        ("tenant = \"t\"", "my.toml:4: `channel` has no `name`"),
        ("name = \"a\"\ntenant = \"t\"", "my.toml:5: `channel.name` is bridged already"),
        ("name = \"tidings_x\"\ntenant = \"t\"", "my.toml:5: `channel.name` is a channel of our own: \"tidings_x\""),
        ("name = \"\"\ntenant = \"t\"", "my.toml:5: `channel.name` is not a channel's name: \"\""),
        ("name = \"b c\"\ntenant = \"t\"", "my.toml:5: `channel.name` is no event type, and there is no `type`"),
        ("tenant = \"=\"\nname = \"b\"", "my.toml:5: `channel.tenant` names no tenant: \"=\""),
    ] {
        let error = from_text(&format!("{ok}[[channel]]\n{text}")).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(!error.hint.is_empty());
    }
    let long = format!("[[channel]]\nname = \"{}\"\ntype = \"t\"\ntenant = \"t\"", "x".repeat(64));
    assert_eq!(from_text(&long).unwrap_err().place, "my.toml:2");
}

#[test]
fn a_channel_that_is_no_list_of_sections_is_refused() {
    for (text, message, hint) in [
        (
            "[channel]\nname = \"a\"",
            "my.toml:1: `channel` must be a list of sections",
            "write [[channel]] and its keys below",
        ),
        (
            "channel = [\"a\"]",
            "my.toml:1: `channel` must be a section, not a string",
            "write [[channel]] and its keys below",
        ),
        ("[[chanel]]\nname = \"a\"", "my.toml:1: `chanel` is not a section", "did you mean [[channel]]?"),
    ] {
        let error = from_text(text).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint.as_str()), (message, hint));
    }
    let refused = |json: &str| from_env(&[("TIDINGS__CHANNEL", json)]).unwrap_err().to_string();
    assert_eq!(refused("chat"), "TIDINGS__CHANNEL: `channel` is not a JSON list: \"chat\"");
    let second = r#"[{"name": "a", "tenant": "t"}, {"name": "b"}]"#;
    assert_eq!(refused(second), "TIDINGS__CHANNEL: `channel` number 2: has no `tenant`");
    let third = r#"[{"name": "a", "tenant": "t", "tpye": "x"}]"#;
    assert_eq!(refused(third), "TIDINGS__CHANNEL: `channel` number 1: `tpye` is not a setting");
}

#[test]
fn the_webhook_in_the_manual_is_complete_and_valid() {
    let example = MANUAL.split("\n# [[webhook]]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let example: String = example.lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap())).collect();
    let config = from_text(&format!("[[webhook]]\n{example}")).unwrap();
    let [webhook] = config.webhook.as_slice() else { panic!("{config:?}") };
    assert_eq!(
        (webhook.consumer().as_str(), webhook.url.as_str()),
        ("webhook.billing", "https://billing.example.com/hooks/tidings")
    );
    assert!(webhook.keys.len() == 2 && webhook.tenants == Some(vec!["acme".into()]));
    assert_eq!((webhook.types.to_string().as_str(), webhook.timeout.as_secs()), ("documents.*,invoice.paid", 15));
    assert_eq!(webhook.headers, [("x-api-key".to_owned(), Secret::new("k"))]);
}

const HOOK: &str =
    "[[webhook]]\nname = \"a\"\nurl = \"https://x\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";

#[test]
fn a_webhook_that_cannot_work_is_refused_with_line_key_and_remedy() {
    for (text, message) in [
        ("tpyes = []", "`webhook.tpyes` is not a setting"),
        ("types = []", "`webhook.types` cannot be used: glob 1 is empty"),
        ("types = \"a\"", "`webhook.types` must be a list of strings"),
        ("tenants = []", "`webhook.tenants` names no tenant"),
        ("timeout = \"0s\"", "`webhook.timeout` is not between 1ms and 5m"),
        ("timeout = \"6m\"", "`webhook.timeout` is not between 1ms and 5m"),
        ("headers = { \"a b\" = \"c\" }", "`webhook.headers` holds \"a b\", which is no header"),
        ("headers = { Webhook-Id = \"c\" }", "`webhook.headers` sets webhook-id, which is ours to say"),
        ("headers = 1", "`webhook.headers` must be a table, not an integer"),
        ("secret_file = \"x\"", "`webhook.secret_file` is also set by `secret`"),
        ("previous_secret = \"x\"", "`webhook.previous_secret` is shorter than 24 bytes"),
        ("allow_http = 1", "`webhook.allow_http` must be true or false, not an integer"),
    ] {
        let error = from_text(&format!("{HOOK}{text}")).unwrap_err();
        assert_eq!(error.to_string(), format!("my.toml:5: {message}"));
        assert!(!error.hint.is_empty());
    }
    for (from, to, message) in [
        ("\"https://x\"", "\"http://x\"", "my.toml:3: `webhook.url` is http, which anyone on the way can read"),
        ("\"https://x\"", "\"ftp://x\"", "my.toml:3: `webhook.url` is neither https nor http"),
        ("\"https://x\"", "\"x\"", "my.toml:3: `webhook.url` is not a URL"),
        ("name = \"a\"", "name = \"A\"", "my.toml:2: `webhook.name` is not a name: \"A\""),
        ("secret = ", "previous_secret = ", "my.toml:1: `webhook` has no `secret`"),
    ] {
        assert_eq!(from_text(&HOOK.replace(from, to)).unwrap_err().to_string(), message);
    }
    let twice = from_text(&format!("{HOOK}{HOOK}")).unwrap_err();
    assert_eq!(twice.to_string(), "my.toml:6: `webhook.name` is there already");
    for url in ["http://127.0.0.1:1/x", "http://[::1]/", "http://localhost"] {
        assert!(from_text(&HOOK.replace("https://x", url)).is_ok(), "{url}");
    }
    assert!(from_text(&format!("{}allow_http = true", HOOK.replace("https://x", "http://x"))).is_ok());
}

#[test]
fn the_secret_of_a_webhook_may_lie_in_a_file_and_is_never_shown() {
    let folder = Folder::new("webhook");
    let file = folder.file("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let json = format!(
        r#"[{{"name": "a", "url": "https://u:hunter2@x", "secret_file": "{file}", "headers": {{"k": "hunter2"}},
        "previous_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}]"#
    );
    let loaded = Loaded::load(None, pairs(&[("TIDINGS__WEBHOOK", &json)]).into_iter(), &[]).unwrap();
    let printed = format!("{:?} {:?}", loaded.config, loaded.shown().map(|shown| shown.value).collect::<Vec<_>>());
    assert!(
        !printed.contains("MfKQ9r8") && !printed.contains("hunter2") && loaded.config.webhook[0].keys.len() == 2,
        "{printed}"
    );
    let shown = loaded.shown().find(|shown| shown.key == "webhook").unwrap().value.to_string();
    assert!(!shown.contains("hunter2") && shown.contains("https://u:***@x"), "{shown}");
    let missing = json.replace(&file, "/nowhere");
    let error = from_env(&[("TIDINGS__WEBHOOK", &missing)]).unwrap_err();
    assert!(error.to_string().contains("`secret_file` cannot be read from \"/nowhere\""), "{error}");
}

#[test]
fn e_mail_that_cannot_work_is_refused() {
    let good = [
        ("TIDINGS__AUTH__SECRET", SECRET),
        ("TIDINGS__EMAIL__SMTP", "smtps://u:hunter2@mail.example"),
        ("TIDINGS__EMAIL__FROM", "Acme <a@acme.example>"),
        ("TIDINGS__EMAIL__PUBLIC_URL", "https://acme.example"),
    ];
    assert!(from_env(&good).is_ok());
    for (key, value, message) in [
        ("TIDINGS__EMAIL__SMTP", "mail.example", "is not a URL"),
        ("TIDINGS__EMAIL__SMTP", "https://mail.example", "is not the URL of an SMTP server"),
        ("TIDINGS__EMAIL__SMTP", "smtp://u:hunter2@mail.example", "would send its password without TLS"),
        ("TIDINGS__EMAIL__SMTP", "smtp://u:hunter2@mail.example?tls=opportunistic", "would send its password"),
        ("TIDINGS__EMAIL__SMTP", "smtp://mail.example?tls=perhaps", "has an unknown value of tls"),
        ("TIDINGS__EMAIL__FROM", "", "is no mailbox"),
        ("TIDINGS__EMAIL__PUBLIC_URL", "", "is no address that links can begin with"),
        ("TIDINGS__EMAIL__PUBLIC_URL", "http://acme.example", "is not https"),
        ("TIDINGS__EMAIL__TYPES", "[]", "cannot be used"),
        ("TIDINGS__EMAIL__SUBJECT", "{{ data.title", "is no usable template"),
        ("TIDINGS__AUTH__SECRET", "", "is not set, but `email.smtp` is"),
    ] {
        let env: Vec<(&str, &str)> =
            good.iter().copied().filter(|(name, _)| *name != key).chain([(key, value)]).collect();
        let error = from_env(&env).unwrap_err();
        assert!(error.to_string().contains(message) && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    for smtp in ["smtp://localhost:2525", "smtp://u:p@mail.example:587?tls=required", "smtp://relay.internal"] {
        let env: Vec<(&str, &str)> = good
            .iter()
            .copied()
            .filter(|(name, _)| !name.ends_with("SMTP"))
            .chain([("TIDINGS__EMAIL__SMTP", smtp)])
            .collect();
        assert!(from_env(&env).is_ok(), "{smtp}");
    }
}

#[test]
fn config_toml_explains_every_key() {
    let mut explained = false;
    for line in MANUAL.lines() {
        // A comment covers the lines that follow it directly: a pair such as min and max shares one.
        explained = line.starts_with('#') || explained && line.contains(" = ");
        assert!(explained || !line.contains(" = "), "{line} has no comment");
    }
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let folder = Folder::new("order");
    let file = folder.file("my.toml", "[limits]\nconnections = 1\nreplays = 1\nconnections_per_user = 1\n");
    let env = pairs(&[("TIDINGS__LIMITS__CONNECTIONS", "2"), ("TIDINGS__LIMITS__REPLAYS", "2")]);
    let flags = pairs(&[("limits.connections", "3")]);
    let limits = Config::load(Some(Path::new(&file)), env.into_iter(), &flags).unwrap().limits;
    assert_eq!((limits.connections, limits.replays, limits.connections_per_user), (3, 2, 1));
    assert_eq!(limits.connections_per_tenant, 5000);
}

#[test]
fn tidings_config_names_a_file_and_the_flag_wins_over_it() {
    let folder = Folder::new("named");
    let one = folder.file("one.toml", "limits.replays = 1");
    let two = folder.file("two.toml", "limits.replays = 2");
    let env = || pairs(&[("TIDINGS_CONFIG", &one)]).into_iter();
    assert_eq!(Config::load(None, env(), &[]).unwrap().limits.replays, 1);
    assert_eq!(Config::load(Some(Path::new(&two)), env(), &[]).unwrap().limits.replays, 2);
}

#[test]
fn database_url_is_honoured_between_file_and_prefix() {
    let folder = Folder::new("database-url");
    let file = folder.file("my.toml", "[database]\nurl = \"postgres://file/x\"\n");
    let url = |env: &[(&str, &str)]| {
        let config = Config::load(Some(Path::new(&file)), pairs(env).into_iter(), &[]).unwrap();
        config.database.url.expose().to_owned()
    };
    let plain = ("DATABASE_URL", "postgres://plain/x");
    assert_eq!(url(&[plain]), "postgres://plain/x");
    assert_eq!(url(&[plain, ("TIDINGS__DATABASE__URL", "postgres://prefix/x")]), "postgres://prefix/x");
    assert_eq!(url(&[("DATABASE_URL", "")]), "postgres://file/x");
    let mounted = folder.file("url", "postgres://mounted/x\n");
    assert_eq!(url(&[("DATABASE_URL_FILE", &mounted)]), "postgres://mounted/x");
}

#[test]
fn a_secret_is_read_from_a_file_without_its_newline() {
    let folder = Folder::new("secret");
    let path = folder.file("secret", &format!("{SECRET}\r\n"));
    let config = from_env(&[("TIDINGS__AUTH__SECRET_FILE", &path)]).unwrap();
    assert_eq!(config.auth.secret.expose(), SECRET);
}

#[test]
fn a_secret_given_twice_or_not_readable_is_refused() {
    let twice = [("TIDINGS__AUTH__SECRET_FILE", "x"), ("TIDINGS__AUTH__SECRET", SECRET)];
    let error = from_env(&twice).unwrap_err();
    assert_eq!(error.to_string(), "TIDINGS__AUTH__SECRET_FILE: `auth.secret` is also set by TIDINGS__AUTH__SECRET");
    let error = from_env(&[("TIDINGS__AUTH__SECRET_FILE", "no-such-file")]).unwrap_err();
    assert!(error.to_string().starts_with("TIDINGS__AUTH__SECRET_FILE: `auth.secret` cannot be read"), "{error}");
}

#[test]
fn lists_in_variables_and_flags_are_json() {
    let config = from_env(&[("TIDINGS__HTTP__ORIGINS", r#"["https://a.example"]"#)]).unwrap();
    assert_eq!(config.http.origins, ["https://a.example"]);
    assert!(from_env(&[("TIDINGS__HTTP__ORIGINS", "https://a.example")]).is_err());
    assert!(from_env(&[("TIDINGS__HTTP__ORIGINS", "[1]")]).is_err());
}

#[test]
fn variables_of_others_are_left_alone() {
    assert!(from_env(&[("TIDINGS_PORT", "tcp://10.0.0.1:8080"), ("PATH", "/bin")]).is_ok());
}

#[test]
fn a_refusal_in_a_file_names_line_key_and_remedy() {
    for (text, message, hint) in [
        (
            "[http]\n\nheart_beat = \"1s\"",
            "my.toml:3: `http.heart_beat` is not a setting",
            "did you mean `http.heartbeat`?",
        ),
        ("[http]\nreplays = 3", "my.toml:2: `http.replays` is not a setting", "did you mean `limits.replays`?"),
        ("\n[htp]\n", "my.toml:2: `htp` is not a section", "did you mean [http]?"),
        ("listen = \"x\"", "my.toml:1: `listen` stands outside any section", "did you mean `http.listen`?"),
        ("[[limit]]", "my.toml:1: `limit` is not a section", "did you mean [limits]?"),
        ("[[http]]", "my.toml:1: `http` must be a section", "write [http] and the keys below it"),
        (
            "[http]\nheartbeat = 15",
            "my.toml:2: `http.heartbeat` must be a string, not an integer",
            "write it as in heartbeat = \"15s\"",
        ),
        (
            "[http]\nheartbeat = \"15\"",
            "my.toml:2: `http.heartbeat` has no unit: \"15\"",
            "write a whole number and one of ms, s, m, h, d, such as \"15s\"",
        ),
        (
            "[http]\nlisten = \"localhost:80\"",
            "my.toml:2: `http.listen` is not an address with a port: \"localhost:80\"",
            "write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
        ),
    ] {
        let error = from_text(text).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint.as_str()), (message, hint));
    }
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_line() {
    for text in ["[http]\nlisten = \"x", "[http]\n=", "[http]\nheartbeat = \"1s\"\nheartbeat = \"2s\""] {
        let error = from_text(text).unwrap_err();
        assert!(error.place == "my.toml:2" || error.place == "my.toml:3", "{error}");
        assert!(!error.message.contains('\n'), "{error}");
    }
}

#[test]
fn a_refusal_in_the_environment_names_the_variable() {
    for (variable, hint) in [
        ("TIDINGS__HTTP__LISTN", "did you mean TIDINGS__HTTP__LISTEN?"),
        ("TIDINGS__HTTP__LISTEN_FILE", "only secrets are read from files"),
        ("TIDINGS__AUTH__SECRT_FILE", "did you mean TIDINGS__AUTH__SECRET_FILE?"),
        ("TIDINGS__http__listen", "did you mean TIDINGS__HTTP__LISTEN?"),
    ] {
        let error = from_env(&[(variable, "x")]).unwrap_err();
        assert_eq!((error.place.as_str(), error.hint.as_str()), (variable, hint));
    }
    let error = from_env(&[("TIDINGS__DATABASE__POOL_SIZE", "many")]).unwrap_err();
    assert_eq!(error.to_string(), "TIDINGS__DATABASE__POOL_SIZE: `database.pool_size` is not a whole number: \"many\"");
}

#[test]
fn an_unknown_flag_is_refused() {
    let error = Config::load(None, std::iter::empty(), &pairs(&[("http.lisen", "x")])).unwrap_err();
    assert_eq!(error.to_string(), "flag http.lisen: `http.lisen` is not a setting");
}

#[test]
fn impossible_combinations_are_refused() {
    for text in [
        "http.heartbeat = \"26s\"",
        "http.heartbeat = \"1500ms\"",
        "http.retry_min = \"6s\"",
        "http.request_bytes_max = \"9MiB\"",
        "listener.backoff_max = \"50ms\"",
        "listener.checkpoint_timeout = \"2s\"",
        "log.retention = \"0s\"",
        "limits.replays = 0",
        "database.url = \"mysql://localhost\"",
        "database.statement_timeout = \"25d\"",
        "tracing.filter = \"tidings=loud\"",
        "auth.secret = \"short\"",
        "auth.previous_secret = \"0123456789abcdef0123456789abcdef\"",
        "auth.jwks = \"http://example.com/jwks\"",
        "auth.jwks = \"ftp://example.com/jwks\"",
        "auth.algorithms = [\"none\"]",
        "auth = { jwks = \"jwks.json\", algorithms = [\"HS256\"] }",
        "auth = { secret = \"0123456789abcdef0123456789abcdef\", algorithms = [\"RS256\"] }",
        "auth.tenant_claim = \"a..b\"",
    ] {
        let error = from_text(text).expect_err(text);
        assert_eq!(error.place, "my.toml:1", "{text}: {error}");
        assert!(!error.hint.is_empty(), "{text}");
    }
}

#[test]
fn unusual_but_possible_settings_are_accepted() {
    for text in [
        "shutdown.drain = \"0s\"",
        "auth.leeway = \"0s\"",
        "auth.jwks = \"http://127.0.0.1:9/jwks\"",
        "auth.jwks = \"http://[::1]:9/jwks\"",
        "auth.jwks = \"https://id.example.com/jwks\"",
        "auth.tenant_claim = \"app_metadata.tenant\"",
        "auth.algorithms = [\"HS256\"]",
        "database.url = \"host=/run/postgresql dbname=app\"",
        "http.listen = \"[::]:0\"",
    ] {
        assert!(from_text(text).is_ok(), "{text}: {:?}", from_text(text));
    }
}

#[test]
fn an_origin_is_what_a_browser_sends() {
    let accepted = |origin: &str| from_text(&format!("http.origins = [\"{origin}\"]")).is_ok();
    for origin in ["https://app.example.com", "http://localhost:3000", "http://[::1]:3000", "capacitor://localhost"] {
        assert!(accepted(origin), "{origin} was refused");
    }
    for origin in [
        "",
        "*",
        "null",
        "app.example.com",
        "https://",
        "https://app.example.com/",
        "https://app.example.com/x",
        "https://App.example.com",
        "https://app.example.com:443",
        "https://a.example:0",
        "https://a.example:99999",
        "https://a.example:",
        "https://user@a.example",
        "https://*.example.com",
        "https://a example",
        "https://[::1",
        "://x",
    ] {
        assert!(!accepted(origin), "{origin} was accepted");
    }
}

#[test]
fn a_contradiction_is_blamed_on_the_later_layer() {
    let folder = Folder::new("blame");
    let file = folder.file("my.toml", "[http]\nretry_min = \"4s\"\n");
    let env = pairs(&[("TIDINGS__HTTP__RETRY_MAX", "2s")]);
    let error = Config::load(Some(Path::new(&file)), env.into_iter(), &[]).unwrap_err();
    assert_eq!(error.to_string(), "TIDINGS__HTTP__RETRY_MAX: `http.retry_min` is longer than `http.retry_max`");
}

#[test]
fn no_error_contains_a_secret() {
    for text in [
        "auth.secret = \"hunter2\"",
        "database.url = \"hunter2\"",
        "[auth]\nsecret = \"hunter2\nleeway = \"1s\"",
        "auth.secret = \"hunter2\" \"hunter2\"",
        "auth.secret = hunter2",
        "auth.secret = [\"hunter2\"]",
        "auth.previous_secret = \"hunter2\"",
        "database.pool_size = 8\nurl = \"hunter2\"",
    ] {
        let error = from_text(text).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn debug_output_contains_no_secret() {
    let env = pairs(&[("TIDINGS__AUTH__SECRET", SECRET), ("DATABASE_URL", "postgres://u:hunter2@h/d")]);
    let loaded = Loaded::load(None, env.into_iter(), &[]).unwrap();
    let printed = format!("{loaded:?} {:?}", loaded.config);
    assert!(!printed.contains(SECRET) && !printed.contains("hunter2"), "{printed}");
}
