//! Somebody uploads a document, and tries again what has failed. What becomes of it is the pipeline's.

use rand::{random_bool, random_range};
use tokio_postgres::Client;

use super::pick;
use crate::cli::Failure;
use crate::cli::demo::seed::Tenant;

const NAMES: [&str; 8] =
    ["Invoice", "Contract", "Meeting notes", "Quarterly report", "Offer", "Floor plan", "Scan", "Travel expenses"];
const TYPES: [(&str, &str); 4] = [
    ("pdf", "application/pdf"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("png", "image/png"),
    ("csv", "text/csv"),
];
/// One in eight fails; the pipeline goes by the name.
const DAMAGED: f64 = 0.125;

/// Uploads one the way the HTTP route does, with its notification. Returns its id.
pub(super) async fn upload(client: &Client, tenant: &Tenant) -> Result<String, Failure> {
    let (extension, mime_type) = pick(&TYPES);
    let damaged = if random_bool(DAMAGED) { " (damaged)" } else { "" };
    let name = format!("{} {}{damaged}.{extension}", pick(&NAMES), random_range(100..1000));
    let (sub, size) = (pick(tenant.users).0, random_range(20_000..8_000_000_i64));
    let create = "select tidings_app.create_document($1, $2, $3, null, $4, $5, '{}') ->> 'id'";
    Ok(client.query_one(create, &[&tenant.id, &sub, &name, &size, &mime_type]).await?.get(0))
}

/// Tries one of these again, if one has failed.
pub(super) async fn try_again(client: &Client, tenant: &Tenant, ids: &[String]) -> Result<(), Failure> {
    let again =
        "select tidings_app.set_document_status($1, d.id, 'processing', null, null, null) from public.documents d
                  where d.tenant_id = $1 and d.id = any ($2) and d.status = 'failed' order by d.updated_at limit 1";
    client.execute(again, &[&tenant.id, &ids]).await?;
    Ok(())
}
