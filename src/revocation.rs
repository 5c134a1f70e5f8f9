//! What was withdrawn before its time: the tokens that no longer open anything, in memory, asked at every request.
//!
//! Place: between a verified token and the rights it gives. Made by `POST /v1/revocations` or `tidings.revoke` in the
//! database; read from there by [`reading`] on every instance.
//!
//! Invariants:
//! - A revoked token opens nothing and keeps nothing open, on any instance, also after a restart
//!   (`a_revoked_user_is_out_on_every_instance_and_stays_out_after_a_restart`).
//! - A revocation in a tenant takes away that tenant and nothing else
//!   (`a_revocation_in_one_tenant_leaves_the_others`).
//! - While the database is away, what is known stays in force (`what_was_revoked_stays_so_while_postgresql_is_away`).

pub mod reading;

use std::collections::HashMap;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use crate::auth::{AuthError, Principal, Tenants};

/// Everything that is in force, as last read.
#[derive(Debug, Default)]
pub struct Revocations {
    /// Replaced as a whole by `reading`; read by requests.
    known: ArcSwap<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// That of the database when it was read; 0, where it has none.
    revision: i64,
    by_sub: HashMap<String, Vec<Revoked>>,
    /// By the SHA-256 of the `jti`.
    by_jti: HashMap<Vec<u8>, Vec<Revoked>>,
}

/// One of them, without its name.
#[derive(Debug, PartialEq, Eq)]
struct Revoked {
    /// None: in all.
    tenant: Option<String>,
    /// Tokens that were issued up to this second.
    before_s: u64,
    /// Later, no such token lives.
    expires_s: u64,
}

/// One of them, as the database has it.
#[derive(Debug)]
pub struct Row {
    /// None: in all.
    pub tenant: Option<String>,
    /// Whose tokens; or
    pub sub: Option<String>,
    /// which token, by its SHA-256.
    pub jti: Option<Vec<u8>>,
    /// Seconds since 1970.
    pub before_s: u64,
    /// Seconds since 1970.
    pub expires_s: u64,
}

impl Known {
    fn new(revision: i64, rows: Vec<Row>) -> Self {
        let mut known = Self { revision, ..Self::default() };
        for Row { tenant, sub, jti, before_s, expires_s } in rows {
            match (sub, jti) {
                (Some(sub), _) => {
                    known.by_sub.entry(sub).or_default().push(Revoked { tenant, before_s, expires_s });
                }
                // The token itself, whenever it was issued.
                (None, Some(jti)) => {
                    let before_s = u64::MAX;
                    known.by_jti.entry(jti).or_default().push(Revoked { tenant, before_s, expires_s });
                }
                (None, None) => {}
            }
        }
        known
    }

    /// Those that a token falls under.
    fn of<'a>(&'a self, principal: &'a Principal, now_s: u64) -> impl Iterator<Item = &'a Revoked> {
        let by_sub = self.by_sub.get(&principal.sub);
        let hash = || principal.jti.as_ref().map(|jti| Sha256::digest(jti.as_bytes()));
        let by_jti = if self.by_jti.is_empty() { None } else { hash().and_then(|jti| self.by_jti.get(&*jti)) };
        // A token that does not say when it was issued may have been issued before.
        let issued_s = principal.issued_at.unwrap_or(0);
        let all = by_sub.into_iter().chain(by_jti).flatten();
        all.filter(move |revoked| issued_s <= revoked.before_s && now_s < revoked.expires_s)
    }
}

impl Revocations {
    /// What is left of somebody's rights.
    ///
    /// # Errors
    /// [`AuthError::Revoked`] where nothing is.
    pub fn left(&self, principal: Principal, now_s: u64) -> Result<Principal, AuthError> {
        let known = self.known.load();
        if known.by_sub.is_empty() && known.by_jti.is_empty() {
            return Ok(principal);
        }
        let mut tenants = principal.tenants.clone();
        for revoked in known.of(&principal, now_s) {
            match (&revoked.tenant, &mut tenants) {
                (None, _) => return Err(AuthError::Revoked),
                (Some(gone), Tenants::Listed(listed)) => listed.retain(|tenant| tenant != gone),
                // Who administers all tenants is a user of none, and no tenant's admin withdraws that.
                (Some(_), Tenants::All) => {}
            }
        }
        if tenants == Tenants::Listed(Vec::new()) {
            return Err(AuthError::Revoked);
        }
        Ok(Principal { tenants, ..principal })
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        let known = self.known.load();
        known.by_sub.values().chain(known.by_jti.values()).map(Vec::len).sum()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn revision(&self) -> i64 {
        self.known.load().revision
    }

    fn put(&self, revision: i64, rows: Vec<Row>) {
        self.known.store(std::sync::Arc::new(Known::new(revision, rows)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Globs, Role};

    const NOW: u64 = 1000;

    fn principal(tenants: &[&str], issued_at: Option<u64>) -> Principal {
        let tenants = match tenants {
            [] => Tenants::All,
            listed => Tenants::Listed(listed.iter().map(ToString::to_string).collect()),
        };
        let (sub, jti) = ("ann".to_owned(), Some("t-1".to_owned()));
        Principal { sub, tenants, role: Role::Admin, events: Globs::any(), expires_at: 2000, issued_at, jti, key: None }
    }

    fn row(tenant: Option<&str>, sub: Option<&str>, jti: Option<&str>) -> Row {
        let jti = jti.map(|jti| Sha256::digest(jti.as_bytes()).to_vec());
        Row {
            tenant: tenant.map(str::to_owned),
            sub: sub.map(str::to_owned),
            jti,
            before_s: NOW - 10,
            expires_s: NOW + 10,
        }
    }

    /// The tenants that are left; none where nothing is.
    fn left(rows: Vec<Row>, principal: Principal, now_s: u64) -> Option<Tenants> {
        let revocations = Revocations::default();
        revocations.put(1, rows);
        revocations.left(principal, now_s).ok().map(|left| left.tenants)
    }

    #[test]
    fn a_user_is_revoked_with_what_was_issued_before() {
        let rows = || vec![row(None, Some("ann"), None)];
        for (issued_at, stands) in
            [(Some(NOW - 11), false), (Some(NOW - 10), false), (Some(NOW - 9), true), (None, false), (Some(0), false)]
        {
            assert_eq!(left(rows(), principal(&["acme"], issued_at), NOW).is_some(), stands, "{issued_at:?}");
        }
        assert!(left(vec![row(None, Some("Ann"), None)], principal(&["acme"], None), NOW).is_some());
        assert!(left(vec![row(None, Some("t-1"), None)], principal(&["acme"], None), NOW).is_some());
        assert!(left(rows(), principal(&["acme"], None), NOW + 10).is_some(), "no such token lives any longer");
    }

    #[test]
    fn a_token_is_revoked_by_its_id_whenever_it_was_issued() {
        for (jti, stands) in [("t-1", false), ("t-2", true), ("ann", true)] {
            let found = left(vec![row(None, None, Some(jti))], principal(&["acme"], Some(NOW)), NOW);
            assert_eq!(found.is_some(), stands, "{jti}");
        }
    }

    #[test]
    fn a_revocation_in_a_tenant_takes_away_that_tenant() {
        let listed = |names: &[&str]| Some(principal(names, None).tenants);
        let acme = || vec![row(Some("acme"), Some("ann"), None), row(Some("initech"), Some("ann"), None)];
        assert_eq!(left(acme(), principal(&["acme"], None), NOW), None);
        assert_eq!(left(acme(), principal(&["acme", "initech"], None), NOW), None);
        assert_eq!(left(acme(), principal(&["acme", "globex"], None), NOW), listed(&["globex"]));
        assert_eq!(left(acme(), principal(&["Acme"], None), NOW), listed(&["Acme"]));
        assert_eq!(left(acme(), principal(&[], None), NOW), Some(Tenants::All));
        assert_eq!(left(vec![row(None, Some("ann"), None)], principal(&[], None), NOW), None);
    }
}
