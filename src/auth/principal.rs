//! The rights of a caller: which tenants, which role, which event types, until when.
//!
//! Made from the claims of a verified token; carried by every request and connection, and stored in tickets.
//! Invariant: whatever is unreadable narrows or refuses, it never widens. A claim that is there but `null`, empty or of
//! another type is refused, except an unknown role, which is the lowest one.

use serde_json::{Map, Value, json};

use super::{
    AuthError, Globs, KeyMark,
    claims::{self, ClaimNames},
};
use crate::event::TenantId;

/// In a ticket: the key behind it. Not read from tokens.
const KEY_CLAIM: &str = "tidings_key";

/// What a caller may do in their tenants, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads. Also any role we do not know: issuers put names of their own (`authenticated`) into the same claim.
    Member,
    /// Reads and publishes.
    Service,
    /// Everything.
    Admin,
}

impl Role {
    /// The text of the claim.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Service => "service",
            Self::Admin => "admin",
        }
    }

    fn read(claim: Option<&Value>) -> Self {
        match claim.and_then(Value::as_str) {
            Some("admin") => Self::Admin,
            Some("service") => Self::Service,
            _ => Self::Member,
        }
    }
}

/// The tenants a caller may enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// These, never none.
    Listed(Vec<String>),
    /// All: an admin whose token has no tenant claim at all.
    All,
}

impl Tenants {
    fn read(claim: Option<&Value>, role: Role) -> Result<Self, AuthError> {
        let one = |value| claims::name(value).ok_or(AuthError::InvalidClaim("tenant"));
        match claim {
            None if role == Role::Admin => Ok(Self::All),
            None => Err(AuthError::MissingClaim("tenant")),
            // An empty list from an admin is an issuer that knew of no tenant, not one that meant all.
            Some(Value::Array(list)) if list.is_empty() => Err(AuthError::InvalidClaim("tenant")),
            Some(Value::Array(list)) => Ok(Self::Listed(list.iter().map(one).collect::<Result<_, _>>()?)),
            Some(value) => Ok(Self::Listed(vec![one(value)?])),
        }
    }
}

/// Who is calling and what they may see. Made only from a verified credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user or service, 1 to 255 bytes without control characters.
    pub sub: String,
    /// Which tenants they may enter.
    pub tenants: Tenants,
    /// What they may do there.
    pub role: Role,
    /// Which event types they may see.
    pub events: Globs,
    /// When the rights end, in seconds since 1970: `exp` itself, without the leeway the verifier grants.
    pub expires_at: u64,
    /// When the token was issued, in seconds since 1970, where it says so.
    pub issued_at: Option<u64>,
    /// The id of the token, where it has one.
    pub jti: Option<String>,
    /// The key that vouched for it; none where no token did.
    pub key: Option<KeyMark>,
}

impl Principal {
    /// The tenants they may enter; none: all.
    pub fn listed(&self) -> Option<&[String]> {
        match &self.tenants {
            Tenants::Listed(list) => Some(list),
            Tenants::All => None,
        }
    }

    /// Whether they may see anything of this tenant.
    pub fn may_enter(&self, tenant: &str) -> bool {
        match &self.tenants {
            Tenants::All => true,
            Tenants::Listed(list) => list.iter().any(|listed| listed == tenant),
        }
    }

    /// The tenant, for those who may see anything of it.
    pub fn enter(&self, tenant: &str) -> Option<TenantId> {
        self.may_enter(tenant).then(|| TenantId::trusted(tenant))
    }

    /// Whether they administer this tenant.
    pub fn is_admin_of(&self, tenant: &str) -> bool {
        self.is_admin() && self.may_enter(tenant)
    }

    /// Whether they may publish events in this tenant: services and admins.
    pub fn may_publish(&self, tenant: &str) -> bool {
        self.role != Role::Member && self.may_enter(tenant)
    }

    /// Whether they administer at least one tenant. What spans tenants still has to be reduced to the ones they
    /// may enter, or to ask [`Principal::is_admin_of_all`].
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether they administer every tenant, those to come included.
    pub fn is_admin_of_all(&self) -> bool {
        self.is_admin() && self.tenants == Tenants::All
    }

    /// The rights as JSON, for tickets: the claims of a token under their default names.
    pub fn to_claims(&self) -> Value {
        let mut claims = Map::from_iter([
            ("sub".to_owned(), json!(self.sub)),
            ("role".to_owned(), json!(self.role.as_str())),
            ("exp".to_owned(), json!(self.expires_at)),
        ]);
        if let Tenants::Listed(list) = &self.tenants {
            claims.insert("tenant".to_owned(), json!(list));
        }
        if !self.events.is_any() {
            claims.insert("events".to_owned(), self.events.iter().collect());
        }
        if let Some(issued_at) = self.issued_at {
            claims.insert("iat".to_owned(), json!(issued_at));
        }
        if let Some(jti) = &self.jti {
            claims.insert("jti".to_owned(), json!(jti));
        }
        if let Some(key) = self.key {
            claims.insert(KEY_CLAIM.to_owned(), key.to_claim());
        }
        Value::Object(claims)
    }

    /// Reads what [`Principal::to_claims`] wrote. Checks shapes only: the caller answers for where the JSON comes from
    /// and whether `expires_at` has passed.
    pub fn from_claims(claims: &Value) -> Option<Self> {
        let key = claims.get(KEY_CLAIM).and_then(KeyMark::from_claim);
        Some(Self { key, ..Self::read(claims, &ClaimNames::default()).ok()? })
    }

    /// Reads the rights out of claims whose signature and dates were checked.
    pub(super) fn read(claims: &Value, names: &ClaimNames) -> Result<Self, AuthError> {
        let exp = claims.get("exp").ok_or(AuthError::MissingClaim("exp"))?;
        let sub = claims::find(claims, &names.sub).ok_or(AuthError::MissingClaim("sub"))?;
        let sub = sub.as_str().filter(|sub| claims::is_name(sub)).ok_or(AuthError::InvalidClaim("sub"))?;
        let role = Role::read(claims::find(claims, &names.role));
        let jti = match claims.get("jti") {
            None => None,
            Some(jti) => Some(claims::name(jti).ok_or(AuthError::InvalidClaim("jti"))?),
        };
        Ok(Self {
            sub: sub.to_owned(),
            tenants: Tenants::read(claims::find(claims, &names.tenant), role)?,
            role,
            events: read_events(claims::find(claims, &names.events))?,
            expires_at: claims::unix_s(exp).ok_or(AuthError::InvalidClaim("exp"))?,
            // Unreadable, it is as if it was issued before anything: what is revoked by time is.
            issued_at: claims.get("iat").and_then(claims::unix_s),
            jti,
            key: None,
        })
    }
}

fn read_events(claim: Option<&Value>) -> Result<Globs, AuthError> {
    let globs = match claim {
        None => return Ok(Globs::any()),
        Some(Value::String(list)) => Globs::parse(list).ok(),
        Some(Value::Array(list)) => {
            let items: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
            items.and_then(|items| Globs::from_items(items).ok())
        }
        Some(_) => None,
    };
    globs.ok_or(AuthError::InvalidClaim("events"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut claims: Value) -> Result<Principal, AuthError> {
        for (name, value) in [("sub", json!("ada")), ("exp", json!(4_000_000_000_u64))] {
            claims.as_object_mut().unwrap().entry(name).or_insert(value);
        }
        Principal::read(&claims, &ClaimNames::default())
    }

    #[test]
    fn a_caller_enters_the_tenants_of_their_claim_and_no_other() {
        for (tenant, entered) in [
            (json!("acme"), vec!["acme"]),
            (json!(["acme", "globex"]), vec!["acme", "globex"]),
            (json!(42), vec!["42"]),
            (json!(["*"]), vec!["*"]),
        ] {
            let principal = read(json!({"tenant": tenant})).unwrap();
            assert!(entered.iter().all(|tenant| principal.may_enter(tenant)));
            assert!(!principal.may_enter("initech") && !principal.may_enter("") && !principal.may_enter("ACME"));
        }
    }

    #[test]
    fn only_an_admin_without_a_tenant_claim_reaches_all_tenants() {
        let admin = read(json!({"role": "admin"})).unwrap();
        assert!(admin.is_admin_of_all() && admin.is_admin_of("acme") && admin.may_publish("acme"));

        let bound = read(json!({"role": "admin", "tenant": "acme"})).unwrap();
        assert!(bound.is_admin_of("acme") && !bound.is_admin_of("globex") && !bound.is_admin_of_all());

        for role in ["member", "service", "root", "Admin"] {
            assert_eq!(read(json!({"role": role})), Err(AuthError::MissingClaim("tenant")), "{role}");
        }
        for tenant in [json!(null), json!([]), json!(""), json!([""]), json!(["acme", null]), json!({}), json!(1.5)] {
            let refused = read(json!({"role": "admin", "tenant": tenant}));
            assert_eq!(refused, Err(AuthError::InvalidClaim("tenant")), "{tenant}");
        }
    }

    #[test]
    fn an_unknown_role_is_a_member() {
        for role in [json!("authenticated"), json!("ADMIN"), json!(["admin"]), json!(null), json!(1)] {
            let principal = read(json!({"role": role, "tenant": "acme"})).unwrap();
            assert_eq!(principal.role, Role::Member, "{role}");
            assert!(!principal.may_publish("acme") && !principal.is_admin());
        }
    }

    #[test]
    fn a_service_publishes_in_its_tenants_and_administers_none() {
        let service = read(json!({"role": "service", "tenant": "acme"})).unwrap();
        assert!(service.may_publish("acme") && !service.may_publish("globex") && !service.is_admin_of("acme"));
    }

    #[test]
    fn the_events_claim_narrows_what_may_be_seen() {
        assert!(read(json!({"tenant": "acme"})).unwrap().events.is_any());
        for events in [json!("documents.*,chat.*"), json!(["documents.*", "chat.*"])] {
            let globs = read(json!({"tenant": "acme", "events": events})).unwrap().events;
            assert!(globs.matches("chat.ended") && !globs.matches("notifications.inserted"));
        }
        for events in [json!([]), json!(""), json!(null), json!([1]), json!(["a,b"]), json!("a b"), json!({})] {
            let refused = read(json!({"tenant": "acme", "events": events}));
            assert_eq!(refused, Err(AuthError::InvalidClaim("events")), "{events}");
        }
    }

    #[test]
    fn the_subject_is_a_bounded_text() {
        for sub in [json!(""), json!(7), json!(null), json!("a\u{0}b"), json!("a".repeat(256))] {
            assert_eq!(read(json!({"sub": sub, "tenant": "acme"})), Err(AuthError::InvalidClaim("sub")), "{sub}");
        }
        let nobody = Principal::read(&json!({"exp": 1, "tenant": "acme"}), &ClaimNames::default());
        assert_eq!(nobody, Err(AuthError::MissingClaim("sub")));
    }

    #[test]
    fn rights_read_back_from_a_ticket_as_they_were() {
        for claims in [
            json!({"role": "admin"}),
            json!({"role": "admin", "tenant": ["acme", "globex"], "events": "chat.*,a", "jti": "t-1"}),
            json!({"role": "service", "tenant": 7, "jti": 9, "iat": 1_900_000_000.5}),
            json!({"tenant": "acme", "events": ["*"]}),
        ] {
            let principal = read(claims).unwrap();
            assert_eq!(Principal::from_claims(&principal.to_claims()), Some(principal));
        }
        assert_eq!(Principal::from_claims(&json!({"sub": "ada", "exp": 1})), None);
    }
}
