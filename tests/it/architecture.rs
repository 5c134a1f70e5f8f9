//! Rules about the source and the schema themselves, which no compiler holds.

use std::path::{Path, PathBuf};

use crate::support::Database;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path from the root, and content, of every file below a folder that ends so.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "nothing in {folder}");
    found
}

/// The part of a file that is shipped: no unit tests, no comments.
fn code(content: &str) -> String {
    let shipped = content.split("#[cfg(test)]\nmod tests {").next().unwrap_or(content);
    shipped.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Names of the files under src/ whose code says `word` and that are not below one of `allowed`.
fn elsewhere(word: &str, allowed: &[&str]) -> Vec<String> {
    let says = files("src", ".rs").into_iter().filter(|(_, content)| code(content).contains(word));
    says.map(|(name, _)| name).filter(|name| !allowed.iter().any(|place| name.starts_with(place))).collect()
}

#[test]
fn a_tenant_id_is_made_only_by_decode_and_auth() {
    assert_eq!(elsewhere("TenantId::trusted(", &["src/decode.rs", "src/decode/", "src/auth/"]), [""; 0]);
    assert!(
        !code(&std::fs::read_to_string(root().join("src/event.rs")).unwrap()).contains("pub fn trusted("),
        "not for other crates"
    );
}

#[test]
fn only_http_and_app_api_know_warp() {
    assert_eq!(elsewhere("warp::", &["src/http/", "src/app_api/"]), [""; 0]);
}

#[test]
fn no_file_is_left_out() {
    for folder in ["src", "tests/it"] {
        let all = files(folder, ".rs");
        let named = |stem: &str| all.iter().any(|(_, content)| content.contains(&format!("mod {stem};")));
        let stems = all.iter().map(|(name, _)| Path::new(name).file_stem().unwrap().to_str().unwrap());
        let out: Vec<&str> = stems.filter(|stem| !["main", "lib", "mod"].contains(stem) && !named(stem)).collect();
        assert_eq!(out, [""; 0], "in {folder}: the compiler does not see them");
    }
}

#[test]
fn only_the_listener_listens() {
    assert_eq!(elsewhere("tidings._listen()", &["src/listener/"]), [""; 0]);
}

#[test]
fn nothing_is_left_to_do_in_shipped_files() {
    // In two pieces, so that this file does not say them.
    let words = [
        concat!("to", "do!"),
        concat!("unimpl", "emented!"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("db", "g!("),
    ];
    let all = [("src", ".rs"), ("tests", ".rs"), ("sql", ".sql"), ("triggers", ".sql")];
    for (name, content) in all.iter().flat_map(|(folder, ending)| files(folder, ending)) {
        let said = words.iter().find(|word| content.contains(**word));
        assert_eq!(said, None, "{name}");
    }
}

#[test]
fn every_migration_is_listed_and_numbered_without_a_gap() {
    let list = std::fs::read_to_string(root().join("src/migrate/layout.rs")).unwrap();
    // The ninth is the same for both layouts, and lies where the first has it.
    for (folder, shared) in [("sql", None), ("sql/app", None), ("sql/app/prisma", Some(9))] {
        let mut versions: Vec<usize> = shared.into_iter().collect();
        for (name, _) in
            files(folder, ".sql").iter().filter(|(name, _)| Path::new(name).parent() == Some(Path::new(folder)))
        {
            assert!(list.contains(&format!("include_str!(\"../../{name}\")")), "{name} is not listed");
            let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
            assert!(list.contains(&format!("(\"{stem}\"")), "{name} is not listed by its name");
            versions.push(stem.trim_start_matches('V').split("__").next().unwrap().parse().unwrap());
        }
        versions.sort_unstable();
        assert_eq!(versions, (1..=versions.len()).collect::<Vec<_>>(), "{folder}");
    }
}

#[test]
fn every_sql_file_opens_with_what_it_does() {
    for (name, content) in files("sql", ".sql").iter().chain(&files("triggers", ".sql")) {
        let opening: Vec<&str> = content.lines().take_while(|line| line.starts_with("--")).collect();
        assert!(opening.len() > 2, "{name} has no prose");
        assert!(
            opening.iter().any(|line| line.contains("Undo:")) || opening.iter().any(|line| line.contains("Fails:")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn everything_in_schema_tidings_has_a_comment() {
    let db = Database::new().await;
    let sql = "select coalesce(string_agg(what, ', ' order by what), '') from (
        select c.oid::regclass::text as what from pg_class c
         where c.relnamespace = 'tidings'::regnamespace and c.relkind in ('r', 'p', 'v', 'S') and not c.relispartition
           and c.relname <> 'schema_history' and obj_description(c.oid, 'pg_class') is null
           and not exists (select from pg_depend d where d.objid = c.oid and d.deptype in ('a', 'i') and c.relkind = 'S')
        union all
        select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace = 'tidings'::regnamespace and obj_description(p.oid, 'pg_proc') is null
        union all
        select t.oid::regtype::text from pg_type t join pg_class c on c.oid = t.typrelid
         where t.typnamespace = 'tidings'::regnamespace and c.relkind = 'c' and obj_description(t.oid, 'pg_type') is null
        union all
        select tgrelid::regclass || '.' || tgname from pg_trigger t
         where tgname like 'tidings%' and obj_description(t.oid, 'pg_trigger') is null
        union all
        select nspname from pg_namespace n where nspname like 'tidings%' and obj_description(n.oid, 'pg_namespace') is null) missing";
    assert_eq!(db.text(sql).await, "");
}

#[tokio::test]
async fn every_function_pins_its_search_path_and_none_is_for_everybody() {
    let db = Database::new().await;
    let sql = "select coalesce(string_agg(p.oid::regprocedure::text, ', '), '') from pg_proc p
                where p.pronamespace = 'tidings'::regnamespace
                  and (not coalesce(p.proconfig::text ~ 'search_path=', false)
                       or exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) where grantee = 0))";
    assert_eq!(db.text(sql).await, "");
}
