//! A document on its way: uploaded, processing stage by stage, processed or failed.

use rand::{random_bool, random_range};
use serde_json::json;
use tokio_postgres::Client;

use super::pick;
use crate::cli::Failure;
use crate::cli::demo::seed::Tenant;

/// Stages of processing, and the progress at which each ends, in percent.
const STAGES: [(&str, i16); 4] = [("scanning", 15), ("extracting text", 55), ("indexing", 85), ("summarising", 100)];
/// What goes wrong, for one document in eight.
const FAULTS: [(&str, &str); 3] = [
    ("unreadable", "The file is damaged or protected by a password."),
    ("unsupported", "This format is not supported."),
    ("timeout", "Processing took too long; upload it again."),
];
const NAMES: [&str; 8] =
    ["Invoice", "Contract", "Meeting notes", "Quarterly report", "Offer", "Floor plan", "Scan", "Travel expenses"];
const TYPES: [(&str, &str); 4] = [
    ("pdf", "application/pdf"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("png", "image/png"),
    ("csv", "text/csv"),
];

/// A document that is not finished.
pub(super) struct Document {
    pub id: String,
    /// None before processing begins.
    progress: Option<i16>,
    /// At which progress it will fail, if it will.
    fails_at: Option<i16>,
}

impl Document {
    /// Uploads one the way the HTTP route does, with its notification.
    pub(super) async fn upload(client: &Client, tenant: &Tenant) -> Result<Self, Failure> {
        let (extension, mime_type) = pick(&TYPES);
        let name = format!("{} {}.{extension}", pick(&NAMES), random_range(100..1000));
        let (sub, size) = (pick(&tenant.users).0, random_range(20_000..8_000_000_i64));
        let create = "select tidings_app.create_document($1, $2, $3, null, $4, $5, '{}') ->> 'id'";
        let row = client.query_one(create, &[&tenant.id, &sub, &name, &size, &mime_type]).await?;
        let fails_at = random_bool(0.125).then(|| random_range(10..90));
        Ok(Self { id: row.get(0), progress: None, fails_at })
    }

    /// Takes it further; true when it is finished. Nothing here is changed when the database does not answer.
    pub(super) async fn advance(&mut self, client: &Client) -> Result<bool, Failure> {
        let next = self.progress.map_or(0, |progress| (progress + random_range(8..30)).min(100));
        if self.fails_at.is_some_and(|fails_at| next >= fails_at) {
            let (code, message) = pick(&FAULTS);
            let error = json!({ "code": code, "message": message }).to_string();
            let fail =
                "update public.documents set status = 'failed', stage = null, error = $2::text::jsonb where id = $1";
            client.execute(fail, &[&self.id, &error]).await?;
            return Ok(true);
        }
        if next == 100 {
            let finish = "update public.documents set status = 'processed', stage = null, progress = 100 where id = $1";
            client.execute(finish, &[&self.id]).await?;
            return Ok(true);
        }
        let stage = STAGES.iter().find(|(_, end)| next < *end).map(|(stage, _)| *stage);
        let advance = "update public.documents set status = 'processing', stage = $2, progress = $3 where id = $1";
        client.execute(advance, &[&self.id, &stage, &next]).await?;
        self.progress = Some(next);
        Ok(false)
    }
}
