//! Guarantees about the configuration as a whole; parsers are tested beside their code.

use std::{collections::BTreeSet, fs, time::Duration};

use super::*;

pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(super) fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub(super) fn from_env(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(None, pairs(env).into_iter(), &[])
}

pub(super) fn from_text(text: &str) -> Result<Config, ConfigError> {
    Loaded::parse("my.toml", text).map(|loaded| loaded.config)
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
fn of_url_and_url_file_the_later_wins_and_two_at_once_are_refused() {
    let folder = Folder::new("url-file");
    let mounted = folder.file("url", "postgres://mounted/x\n");
    let url = |text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]| {
        let file = folder.file("my.toml", text);
        let config = Config::load(Some(Path::new(&file)), pairs(env).into_iter(), &pairs(flags))?;
        Ok::<_, ConfigError>((config.database.url.expose().to_owned(), config.database.url_file))
    };
    let held = (String::from("postgres://mounted/x"), mounted.clone());
    let plain = (String::from("postgres://plain/x"), String::new());
    let in_file = format!("[database]\nurl_file = {mounted:?}");
    assert_eq!(url(&in_file, &[], &[]).unwrap(), held);
    assert_eq!(url(&in_file, &[("DATABASE_URL", &plain.0)], &[]).unwrap(), plain);
    assert_eq!(url("[database]\nurl = \"host=x\"", &[("TIDINGS__DATABASE__URL_FILE", &mounted)], &[]).unwrap(), held);
    assert_eq!(url("", &[("DATABASE_URL_FILE", &mounted)], &[("database.url", &plain.0)]).unwrap(), plain);

    let error = url(&format!("{in_file}\nurl = \"host=x\""), &[], &[]).unwrap_err();
    assert!(error.to_string().contains("my.toml:") && error.to_string().contains("beside the other"), "{error}");
    for (one, other) in
        [("DATABASE_URL", "DATABASE_URL_FILE"), ("TIDINGS__DATABASE__URL", "TIDINGS__DATABASE__URL_FILE")]
    {
        let error = url("", &[(one, "host=x"), (other, &mounted)], &[]).unwrap_err();
        assert!(error.to_string().contains(&format!("is also set by {one}")), "{error}");
    }
    let error = url("", &[("DATABASE_URL_FILE", "/no/such/file")], &[]).unwrap_err();
    assert!(error.to_string().starts_with("DATABASE_URL_FILE: `database.url_file` cannot be read"), "{error}");
    let wrong = folder.file("wrong", "postgres://u:secret@h/x?nonsense=1");
    let error = url("", &[("DATABASE_URL_FILE", &wrong)], &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("DATABASE_URL_FILE: ") && error.contains("nonsense") && !error.contains("secret"),
        "{error}"
    );
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

#[test]
fn a_page_to_sign_in_on_is_one_that_a_link_can_lead_to() {
    for good in ["", "/sign-in", "https://app.example.com/sign-in?back={page}", "http://localhost:3000"] {
        assert_eq!(from_env(&[("TIDINGS__PAGES__SIGN_IN", good)]).unwrap().pages.sign_in, good);
    }
    for bad in
        ["app.example.com", "//evil.example.com", "/\\evil.example.com", "javascript:alert(1)", "https://", "/a b"]
    {
        let error = from_env(&[("TIDINGS__PAGES__SIGN_IN", bad)]).unwrap_err();
        assert!(error.to_string().contains("`pages.sign_in` is neither an http URL nor a path"), "{error}");
    }
}

#[test]
fn the_largest_upload_fits_into_all_of_them() {
    for bound in ["bytes_per_tenant_max", "bytes_total_max"] {
        let error = from_text(&format!("[uploads]\nbytes_max = \"2GiB\"\n{bound} = \"1GiB\"")).unwrap_err();
        let told = format!("`uploads.bytes_max` is more than `uploads.{bound}`");
        assert!(error.to_string().contains(&told), "{error}");
    }
    let error = from_text("[pages]\nconnect = [\"https://bucket.example.com/path\"]").unwrap_err();
    assert!(error.to_string().contains("`pages.connect` holds"), "{error}");
}

#[test]
fn spans_are_refused_by_a_binary_that_cannot_send_them() {
    let set = |url: &str| Config::load(None, std::iter::empty(), &[("tracing.otlp".to_owned(), url.to_owned())]);
    assert_eq!(set("http://localhost:4318").is_ok(), crate::telemetry::Telemetry::BUILT_IN);
    let message = set("localhost:4318").unwrap_err().to_string();
    assert!(message.contains("`tracing.otlp` is not an http URL"), "{message}");
}
