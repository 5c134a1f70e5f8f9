//! `docs/requirements.md` is complete, and what it says to be shown is shown by something that is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Letter of the rows, and how many there are: requirements, contradictions, defects.
const ROWS: [(char, usize); 3] = [('R', 265), ('X', 25), ('D', 17)];
/// What an answer begins with where nothing of ours has to be shown.
const NOT_OURS: [&str; 2] = ["outside:", "missing:"];

/// A row's cells but its number: asked, here, shown by.
type Cells = [String; 3];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A letter and a number, as rows are called.
fn is_row(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|first| ROWS.iter().any(|(letter, _)| *letter == first))
        && letters.as_str().parse::<usize>().is_ok()
}

/// All rows in their order.
fn rows() -> Vec<(String, Cells)> {
    let text = std::fs::read_to_string(root().join("docs/requirements.md")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = lines.map(|line| line.split(" | ").map(str::to_owned).collect::<Vec<_>>());
    let numbered = cells.filter(|cells| is_row(&cells[0])).map(|mut cells| (cells.remove(0), cells));
    numbered
        .map(|(row, cells)| (row.clone(), cells.try_into().unwrap_or_else(|_| panic!("{row} has other cells"))))
        .collect()
}

/// The file of a module: below `src` or `web` where the path says so, else below `tests/it`.
fn file_of(module: &str) -> Option<PathBuf> {
    if module.starts_with("web::") {
        let stem = root().join(module.replace("::", "/"));
        return ["test.ts", "test.tsx", "spec.ts"]
            .iter()
            .map(|ending| stem.with_extension(ending))
            .find(|file| file.is_file());
    }
    let (folder, module) = module.strip_prefix("src::").map_or(("tests/it", module), |module| ("src", module));
    let stem = root().join(folder).join(module.replace("::", "/"));
    [stem.with_extension("rs"), stem.join("mod.rs")].into_iter().find(|file| file.is_file())
}

/// Titles of the tests in a TypeScript file, written as names: all but letters and digits becomes `_`. One that is skipped is not
/// called `it` or `test` alone.
fn titles_of(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let calls = text.lines().map(str::trim).filter_map(|line| {
        ["it('", "it(`", "it(\"", "test('", "test(`", "test(\""].iter().find_map(|call| line.strip_prefix(call))
    });
    let title = |call: &str| call.split(['\'', '`', '"']).next().unwrap_or("").to_lowercase();
    calls.map(|call| title(call).replace(|letter: char| !letter.is_ascii_alphanumeric(), "_")).collect()
}

/// Names of the tests in a file: functions behind an attribute that makes one of them. One that is ignored shows nothing.
fn tests_of(file: &Path) -> Vec<String> {
    if file.extension().is_some_and(|ending| ending != "rs") {
        return titles_of(file);
    }
    let (mut names, mut marked) = (Vec::new(), false);
    for line in std::fs::read_to_string(file).unwrap().lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if line.starts_with("#[ignore") {
            marked = false;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            names.push(rest.split('(').next().unwrap_or("").to_owned());
            marked = false;
        }
    }
    names
}

/// What is wrong with one word of the last column.
fn fault(word: &str, rows: &BTreeMap<String, Cells>) -> Option<String> {
    if let Some(name) = word.strip_prefix('`').and_then(|word| word.strip_suffix('`')) {
        let there = match name.rsplit_once("::") {
            Some((module, test)) => file_of(module).is_some_and(|file| tests_of(&file).iter().any(|name| name == test)),
            None => root().join(name).is_file(),
        };
        return (!there).then(|| format!("{name} is not there"));
    }
    match rows.get(word) {
        Some([_, _, shown]) if shown != "–" && shown != "no test" => None,
        Some(_) => Some(format!("{word} shows nothing itself")),
        None => Some(format!("{word} is neither a row, nor a test or file in backticks")),
    }
}

/// Whether a row leads to a test or a file, by way of others or not.
fn leads_somewhere(row: &str, rows: &BTreeMap<String, Cells>, steps: usize) -> bool {
    let words = || rows.get(row).into_iter().flat_map(|[_, _, shown]| shown.split_whitespace());
    steps > 0 && words().any(|word| word.starts_with('`') || is_row(word) && leads_somewhere(word, rows, steps - 1))
}

#[test]
fn every_requirement_is_answered_and_every_test_named_exists() {
    let found = rows();
    let numbers = ROWS.iter().flat_map(|(letter, last)| (1..=*last).map(move |number| format!("{letter}{number}")));
    let asked: Vec<String> = numbers.collect();
    let times = asked.iter().map(|row| (row, found.iter().filter(|(other, _)| other == row).count()));
    let mut faults: Vec<String> =
        times.filter(|(_, times)| *times != 1).map(|(row, times)| format!("{row}: {times} rows")).collect();
    faults.extend(found.iter().filter(|(row, _)| !asked.contains(row)).map(|(row, _)| format!("{row}: nobody asked")));
    let rows: BTreeMap<String, Cells> = found.iter().cloned().collect();
    for (row, cells) in &found {
        let [_, here, shown] = cells;
        faults.extend(cells.iter().filter(|cell| cell.trim().is_empty()).map(|_| format!("{row}: an empty cell")));
        match shown.as_str() {
            "no test" => {}
            "–" if NOT_OURS.iter().any(|kind| here.starts_with(kind)) => {}
            "–" => faults.push(format!("{row}: claims an answer and shows nothing")),
            words => {
                let before = faults.len();
                let wrong = words.split_whitespace().filter_map(|word| fault(word, &rows));
                faults.extend(wrong.map(|fault| format!("{row}: {fault}")));
                if faults.len() == before && !leads_somewhere(row, &rows, 4) {
                    faults.push(format!("{row}: leads to no test and no file"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "docs/requirements.md:\n{}", faults.join("\n"));
}
