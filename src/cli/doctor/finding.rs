//! Findings and how they are printed: for a person, worst first with what mends each; for a script, one JSON object.

use std::fmt;

use serde::Serialize;
use tokio_postgres::Row;

/// How bad it is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// Events are lost to subscribers, or will be.
    Error,
    /// Something will go wrong, or has.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    fn heading(self) -> &'static str {
        match self {
            Self::Error => "Errors",
            Self::Warning => "Warnings",
            Self::Info => "Good to know",
        }
    }
}

/// One thing found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub severity: Severity,
    /// Stable name, in `snake_case`.
    pub code: String,
    /// Table, bridge, role or session; empty: the whole database.
    pub subject: String,
    /// A sentence without full stop.
    pub message: String,
    /// SQL; what is to be done elsewhere stands behind `-- `.
    pub fix: Option<String>,
}

impl Finding {
    /// Something a client saw.
    pub(super) fn new(severity: Severity, code: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        let (message, fix) = (message.into(), Some(fix.into()));
        Self { severity, code: code.to_owned(), subject: String::new(), message, fix }
    }

    /// A row of `tidings.doctor()`.
    pub(super) fn from_row(row: &Row) -> Self {
        let severity = match row.get("severity") {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        };
        let (code, subject) = (row.get("code"), row.get("subject"));
        Self { severity, code, subject, message: row.get("message"), fix: row.get("fix") }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    pub(super) fn extend(&mut self, findings: impl Iterator<Item = Finding>) {
        self.0.extend(findings);
    }

    /// Worst first.
    pub(super) fn sort(&mut self) {
        self.0.sort_by(|a, b| (a.severity, &a.code, &a.subject).cmp(&(b.severity, &b.code, &b.subject)));
    }

    /// Whether something was found already.
    pub(super) fn any(&self, code: &str) -> bool {
        self.0.iter().any(|finding| finding.code == code)
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }

    pub(super) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// `{"findings": […], "errors": …, "warnings": …, "info": …}`
    pub(super) fn json(&self) -> String {
        let (errors, warnings, info) = (self.errors(), self.count(Severity::Warning), self.count(Severity::Info));
        let all = serde_json::json!({"findings": self.0, "errors": errors, "warnings": warnings, "info": info});
        format!("{all:#}")
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for severity in [Severity::Error, Severity::Warning, Severity::Info] {
            let mut group = self.0.iter().filter(|finding| finding.severity == severity).peekable();
            if group.peek().is_some() {
                writeln!(f, "{}", severity.heading())?;
            }
            for finding in group {
                writeln!(f, "  {}  [{}]", finding.message, finding.code)?;
                indented(f, finding.fix.as_deref())?;
                writeln!(f)?;
            }
        }
        let counted = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let (errors, warnings) = (counted(self.errors(), "error"), counted(self.count(Severity::Warning), "warning"));
        write!(f, "{errors}, {warnings}, {} good to know", self.count(Severity::Info))
    }
}

/// What mends it, below what it mends.
pub(super) fn indented(f: &mut fmt::Formatter<'_>, fix: Option<&str>) -> fmt::Result {
    for line in fix.unwrap_or_default().lines() {
        writeln!(f, "      {line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_printed_worst_first_with_what_mends_them_and_counted() {
        let mut all = Findings::default();
        all.push(Finding::new(Severity::Info, "log", "the log holds 1 MB", "select * from tidings.log;"));
        all.push(Finding::new(Severity::Error, "pooler", "LISTEN does not last", "-- connect directly\n-- to it"));
        all.sort();
        let expected = "Errors\n  LISTEN does not last  [pooler]\n      -- connect directly\n      -- to it\n\n\
                        Good to know\n  the log holds 1 MB  [log]\n      select * from tidings.log;\n\n\
                        1 error, 0 warnings, 1 good to know";
        assert_eq!(all.to_string(), expected);
    }

    #[test]
    fn json_holds_every_finding_and_the_counts() {
        let mut all = Findings::default();
        all.push(Finding::new(Severity::Warning, "clock", "it is late", "-- set it"));
        let json: serde_json::Value = serde_json::from_str(&all.json()).unwrap();
        assert_eq!((&json["warnings"], &json["findings"][0]["severity"]), (&1.into(), &"warning".into()));
    }
}
