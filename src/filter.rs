//! What one subscriber may and wants to see, and what a connection has been sent already.
//!
//! Place on the road: looked at by subscribers and pages, per event, without parsing its data.

use std::collections::{HashSet, VecDeque};

use crate::auth::Globs;
use crate::event::Event;

/// What one subscriber may and wants to see.
#[derive(Clone, Debug)]
pub struct Filter {
    /// What the credential allows.
    pub allowed: Globs,
    /// What the client asked for.
    pub types: Globs,
    /// Only this subject.
    pub subject: Option<Box<str>>,
    /// Whose events with an audience are shown; `None` to the tenant's admins, who see all.
    pub user: Option<Box<str>>,
    /// The tenants that may be seen, where the scope is all of them; `None` for every one.
    pub tenants: Option<Box<[String]>>,
}

impl Filter {
    /// Whether the event is for this subscriber.
    pub fn admits(&self, event: &Event) -> bool {
        let for_user = match (&event.audience, &self.user) {
            (Some(audience), Some(user)) => audience == user,
            _ => true,
        };
        for_user
            && self.tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|tenant| tenant == event.tenant.as_str()))
            && self.allowed.matches(&event.kind)
            && self.types.matches(&event.kind)
            && self.subject.as_ref().is_none_or(|subject| event.subject.as_ref() == Some(subject))
    }

    /// Whether it admits everything that is for the whole tenant.
    pub fn is_open(&self) -> bool {
        self.allowed.is_any() && self.types.is_any() && self.subject.is_none() && self.tenants.is_none()
    }
}

/// Events that a connection with several subscriptions has been sent: the newest of them.
#[derive(Debug, Default)]
pub struct Sent {
    /// Of each its [`Event::number`].
    numbers: HashSet<u64>,
    order: VecDeque<u64>,
}

/// Remembered per connection, and only while it has several subscriptions.
const SENT_MAX: usize = 8192;

impl Sent {
    /// Whether this is the first time.
    pub fn first(&mut self, number: u64) -> bool {
        if !self.numbers.insert(number) {
            return false;
        }
        self.order.push_back(number);
        if self.order.len() > SENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.numbers.remove(&oldest);
        }
        true
    }
}
