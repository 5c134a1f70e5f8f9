//! What the event routes have in common: who may subscribe to what.

use super::credential;
use super::problem::Problem;
use crate::auth::{Globs, Principal, Tenants};
use crate::filter::Filter;
use crate::replay::Scope;

/// One tenant's events, or all tenants' for admins.
pub fn scope(principal: &Principal, tenant: Option<&str>) -> Result<Scope, Problem> {
    match tenant {
        Some(tenant) => Ok(Scope::Tenant(credential::enter(principal, tenant)?)),
        None if principal.is_admin() => Ok(Scope::Every),
        None => Err(Problem::forbidden("events of all tenants are for admins; use /v1/tenants/{tenant}/events")),
    }
}

/// What of a scope this caller may and wants to see.
pub fn filter(principal: &Principal, scope: &Scope, types: Globs, subject: Option<&str>) -> Filter {
    let admin = match scope {
        Scope::Tenant(tenant) => principal.is_admin_of(tenant.as_str()),
        Scope::Every => true,
    };
    let tenants = match (scope, &principal.tenants) {
        (Scope::Every, Tenants::Listed(tenants)) => Some(tenants.clone().into_boxed_slice()),
        _ => None,
    };
    Filter {
        allowed: principal.events.clone(),
        types,
        subject: subject.map(Into::into),
        user: (!admin).then(|| principal.sub.as_str().into()),
        tenants,
    }
}
